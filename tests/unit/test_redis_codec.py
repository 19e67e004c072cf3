"""Records and changes as bytes: what goes in comes out, and what is not whole is not known."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.meta.entry import Entry
from vfs.meta.redis.codec import UNKNOWN, decode, encode, heard, seal, tell, unseal
from vfs.meta.shared import Change, Kind, Record
from vfs.types import Attr, ETag

UINT32 = st.integers(0, 2**32 - 1)
NS = st.integers(-(2**63), 2**63 - 1)
XATTRS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=50), max_size=3
)
ATTRS = st.builds(
    Attr, UINT32, UINT32, UINT32, st.integers(0, 2**63), NS, NS, NS, st.integers(0, 2**63), xattrs=XATTRS
)
ENTRIES = st.builds(
    Entry, ATTRS, st.text(st.characters(codec="utf-8"), max_size=80).map(ETag), st.booleans(), NS
)
RECORDS = st.builds(Record, st.none() | ENTRIES, st.floats(0, 1e12))
ENTRY = Entry(Attr(0o100644, 1000, 1000, 12345, 1, 2, 3), ETag("d41d8cd98f00b204e9800998ecf8427e"))


@given(RECORDS)
def test_a_record_comes_back(record: Record) -> None:
    assert decode(encode(record)) == record


@given(RECORDS, st.integers(0), st.integers(1, 255))
def test_a_record_with_one_wrong_byte_is_not_known(record: Record, place: int, change: int) -> None:
    data = bytearray(encode(record))
    data[place % len(data)] ^= change
    assert decode(bytes(data)) is None


@given(RECORDS, st.integers(0))
def test_half_a_record_is_not_known(record: Record, length: int) -> None:
    data = encode(record)
    assert decode(data[: length % len(data)]) is None


@given(st.binary(max_size=300))
def test_garbage_is_not_known(data: bytes) -> None:
    assert decode(data) is None
    assert decode(b"\1" + data) is None


def test_what_does_not_fit_is_unknown() -> None:
    late = Entry(Attr(0o100644, 0, 0, 0, 253402300799 * 10**9, 0, 0), ETag("e"))
    wild = Entry(Attr(0o100644, -1, 0, 0, 0, 0, 0), ETag("e"))
    odd = Entry(Attr(0o100644, 0, 0, 0, 0, 0, 0), ETag("\udcff"))
    assert [encode(Record(entry, 1.0)) for entry in (late, wild, odd)] == [UNKNOWN] * 3
    assert decode(UNKNOWN) is decode(None) is None


def test_a_thousand_records_are_read_in_ten_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    data = [encode(Record(ENTRY, float(number))) for number in range(1000)]
    seconds = []
    for _ in range(5):
        begun = time.process_time()
        assert None not in list(map(decode, data))
        seconds.append(time.process_time() - begun)
    with capsys.disabled():
        print(f"\n[1,000 records decoded in {min(seconds) * 1000:.1f} ms]")  # noqa: T201
    assert min(seconds) < 0.010


@given(st.lists(st.tuples(st.sampled_from(Kind), st.text(st.characters(codec="utf-8"), max_size=30))))
def test_changes_come_back_in_order(told: list[tuple[Kind, str]]) -> None:
    changes = [Change(kind, path, ENTRY if kind is Kind.PUT else None) for kind, path in told]
    fields = tell(changes, 1.0)
    assert heard(dict(zip(fields[::2], fields[1::2], strict=True))) == changes


def test_what_cannot_be_told_drops_more() -> None:
    late = Entry(Attr(0o100644, 0, 0, 0, 253402300799 * 10**9, 0, 0), ETag("e"))
    fields = tell([Change(Kind.PUT, "workspace/a", late)], 1.0)
    assert heard(dict([fields])) == [Change(Kind.TREE, "workspace/a")]  # type: ignore[list-item]
    for junk in (b"", b"0", b"0 put", b"0 other a", b"0 put \xff"):
        assert heard({junk: b""}) == [Change(Kind.ALL)]


@given(st.binary(max_size=200), st.integers(0), st.integers(1, 255))
def test_contents_are_sealed(data: bytes, place: int, change: int) -> None:
    sealed = bytearray(seal(data))
    assert unseal(bytes(sealed)) == data
    sealed[place % len(sealed)] ^= change
    assert unseal(bytes(sealed)) is None


def test_what_was_never_sealed_is_no_content() -> None:
    assert unseal(None) is unseal(b"") is unseal(b"abc") is None
    assert unseal(random.Random(1).randbytes(100)) is None
