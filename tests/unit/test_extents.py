"""Extents against the plainest model of bytes there is: a list in which None is a hole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfs.data.extents import GROW_LIMIT, OVERHEAD, SMALL, Extents, Piece

SPAN = 60

Model = list[int | None]

offsets = st.integers(0, SPAN)
writes = st.tuples(st.just("write"), offsets, st.binary(max_size=20))
removals = st.tuples(st.just("remove"), offsets, offsets)
cuts = st.tuples(st.just("cut"), offsets, st.just(0))
overlays = st.tuples(st.just("overlay"), st.lists(st.tuples(offsets, st.binary(max_size=9))), st.just(0))


def put(model: Model, offset: int, data: bytes) -> None:
    model[offset : offset + len(data)] = list(data)


def held(extents: Extents, start: int, end: int) -> Model:
    """What `pieces` says of a range, checked for being in order and without a gap."""
    out: Model = []
    at = start
    for piece in extents.pieces(start, end):
        assert piece.start == at
        assert piece.length > 0
        out += [None] * piece.length if piece.data is None else list(bytes(piece.data))
        at += piece.length
    assert len(out) == max(end - start, 0)
    return out


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(writes, writes, removals, cuts, overlays), max_size=25), offsets, offsets)
def test_extents_are_a_sparse_byte_array(steps: list[tuple], one: int, other: int) -> None:
    extents = Extents()
    model: Model = [None] * (SPAN + 20)
    for kind, a, b in steps:
        if kind == "write":
            extents.write(a, b)
            put(model, a, b)
        elif kind == "remove":
            low, high = sorted((a, b))
            extents.remove(low, high)
            model[low:high] = [None] * (high - low)
        elif kind == "cut":
            extents.cut(a)
            model[a:] = [None] * (len(model) - a)
        else:
            upper = Extents()
            for offset, data in a:
                upper.write(offset, data)
                put(model, offset, data)
            extents.overlay(upper)
        extents.check()
    start, end = sorted((one, other))
    window = model[start:end]
    assert held(extents, 0, len(model)) == model
    assert held(extents, start, end) == window
    assert extents.covers(start, end) == (None not in window)
    assert extents.touches(start, end) == any(byte is not None for byte in window)
    assert extents.end == max((i + 1 for i, byte in enumerate(model) if byte is not None), default=0)
    assert extents.cost == extents.nbytes + OVERHEAD * len(extents)


@given(st.lists(st.tuples(offsets, st.binary(min_size=1, max_size=20)), min_size=1), st.data())
def test_take_removes_what_it_gives(pairs: list[tuple[int, bytes]], data: st.DataObject) -> None:
    extents = Extents()
    model: Model = [None] * (SPAN + 20)
    for offset, buf in pairs:
        extents.write(offset, buf)
        put(model, offset, buf)
    filled = [i for i, byte in enumerate(model) if byte is not None]
    start = data.draw(st.sampled_from(filled))
    longest = next((i for i in range(start, len(model)) if model[i] is None), len(model))
    end = data.draw(st.integers(start, longest))
    assert b"".join(extents.take(start, end)) == bytes(byte for byte in model[start:end] if byte is not None)
    model[start:end] = [None] * (end - start)
    extents.check()
    assert held(extents, 0, len(model)) == model


def test_take_refuses_a_hole() -> None:
    """A part that misses bytes in the middle would shift everything behind it."""
    extents = Extents()
    extents.write(0, b"aaaa")
    extents.write(6, b"bb")
    with pytest.raises(AssertionError):
        extents.take(0, 8)


def test_a_log_written_by_the_line_is_one_extent() -> None:
    extents = Extents()
    for i in range(1000):
        extents.write(i * 10, b"0123456789")
    assert len(extents) == 1
    assert extents.nbytes == 10_000


def test_a_large_buffer_is_kept_as_it_is() -> None:
    extents = Extents()
    data = bytes(SMALL)
    extents.write(0, data)
    extents.write(SMALL, data)
    assert [buf is data for _, buf in extents] == [True, True]


def test_an_extent_stops_growing() -> None:
    extents = Extents()
    step = bytes(SMALL - 1)
    for i in range(40):
        extents.write(i * len(step), step)
    extents.check()
    assert max(len(buf) for _, buf in extents) <= GROW_LIMIT


def test_an_extent_grows_while_somebody_looks_at_it() -> None:
    """A bytearray cannot be resized while a view of it lives: reads and uploads hold such views."""
    extents = Extents()
    extents.write(0, b"first")
    (view,) = [piece.data for piece in extents.pieces(1, 4)]
    extents.write(5, b"second")
    extents.check()
    assert bytes(view or b"") == b"irs"
    assert b"".join(bytes(piece.data or b"") for piece in extents.pieces(0, 11)) == b"firstsecond"


def test_pieces_of_nothing() -> None:
    assert list(Extents().pieces(3, 7)) == [Piece(3, 4, None)]
    assert list(Extents().pieces(3, 3)) == []
    assert "0 bytes" in repr(Extents())
