"""Bytes of a file by offset: sorted extents that never overlap.

A write keeps the kernel's buffer as it is (up to 1 MiB, no copy); small writes that follow one another grow into
one extent, and a small overwrite changes it in place. So a log written by the line, a database rewriting its
pages and a 4 GiB copy all stay cheap. Buffers are whole objects, never views, so `nbytes` is what they cost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from vfs.types import Buffer

GROW_LIMIT = 1 << 20
"""An extent that grows by small writes stops here, so that conversions and copies stay under a millisecond."""

SMALL = 64 << 10
"""Writes below this are copied into growing extents; from here on the buffer itself is kept."""

OVERHEAD = 160
"""Bytes of bookkeeping per extent (list slots and object headers, CPython 3.11), charged to the budget."""


class Piece(NamedTuple):
    """Part of a range: `data` is None where no extent covers it."""

    start: int
    length: int
    data: Buffer | None


class Extents:
    """A sparse byte array. INVARIANT: starts ascend, extents do not overlap, none is empty."""

    __slots__ = ("_bufs", "_starts", "nbytes")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._bufs: list[bytes | bytearray] = []
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, bytes | bytearray]]:
        return iter(zip(self._starts, self._bufs, strict=True))

    def __repr__(self) -> str:
        return f"<Extents {[(s, s + len(b)) for s, b in self][:8]} of {len(self)}, {self.nbytes} bytes>"

    @property
    def cost(self) -> int:
        """Bytes of RAM: data and bookkeeping."""
        return self.nbytes + OVERHEAD * len(self._starts)

    @property
    def end(self) -> int:
        """Offset after the last byte held; 0 when empty."""
        return self._starts[-1] + len(self._bufs[-1]) if self._starts else 0

    def write(self, offset: int, data: bytes | bytearray) -> None:
        """Puts `data` at `offset`, over whatever was there."""
        if not data:
            return
        end = offset + len(data)
        i = bisect_right(self._starts, offset) - 1
        if i >= 0:
            start, buf = self._starts[i], self._bufs[i]
            last = i + 1 == len(self._starts)
            if start + len(buf) == offset and (last or self._starts[i + 1] >= end) and self._grow(i, data):
                return
            if end <= start + len(buf) and len(data) < len(buf):
                self._overwrite(i, offset - start, data)
                return
        self.remove(offset, end)
        i = bisect_right(self._starts, offset)
        self._starts.insert(i, offset)
        self._bufs.insert(i, bytearray(data) if len(data) < SMALL else data)
        self.nbytes += len(data)

    def _grow(self, i: int, data: bytes | bytearray) -> bool:
        buf = self._bufs[i]
        if len(data) >= SMALL or len(buf) + len(data) > GROW_LIMIT or not isinstance(buf, bytearray):
            return False
        try:
            buf += data
        except BufferError:  # a read or an upload looks at it at this moment: it must not move
            return False
        self.nbytes += len(data)
        return True

    def _overwrite(self, i: int, at: int, data: bytes | bytearray) -> None:
        buf = self._bufs[i]
        if not isinstance(buf, bytearray):
            buf = self._bufs[i] = bytearray(buf)
        buf[at : at + len(data)] = data

    def remove(self, start: int, end: int) -> None:
        """Forgets the bytes [start, end)."""
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._starts[first] + len(self._bufs[first]) <= start:
            first += 1
        last = first
        kept: list[tuple[int, bytes | bytearray]] = []
        while last < len(self._starts) and self._starts[last] < end:
            at, buf = self._starts[last], self._bufs[last]
            self.nbytes -= len(buf)
            if at < start:
                kept.append((at, buf[: start - at]))
            if at + len(buf) > end:
                kept.append((end, buf[end - at :]))
            last += 1
        if first == last:
            return
        self._starts[first:last] = [at for at, _ in kept]
        self._bufs[first:last] = [buf for _, buf in kept]
        self.nbytes += sum(len(buf) for _, buf in kept)

    def cut(self, size: int) -> None:
        """Forgets everything from `size` on."""
        if self.end > size:
            self.remove(size, self.end)

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """Covers [start, end) in order. Data pieces are views or whole buffers, valid until the next change."""
        at = start
        i = max(bisect_right(self._starts, start) - 1, 0)
        while at < end and i < len(self._starts):
            begin, buf = self._starts[i], self._bufs[i]
            stop = begin + len(buf)
            if begin >= end:
                break
            if stop > at:
                if begin > at:
                    yield Piece(at, begin - at, None)
                    at = begin
                upto = min(stop, end)
                whole = at == begin and upto == stop
                yield Piece(at, upto - at, buf if whole else memoryview(buf)[at - begin : upto - begin])
                at = upto
            i += 1
        if at < end:
            yield Piece(at, end - at, None)

    def covers(self, start: int, end: int) -> bool:
        """True if every byte of [start, end) is held."""
        return all(piece.data is not None for piece in self.pieces(start, end))

    def touches(self, start: int, end: int) -> bool:
        """True if any byte of [start, end) is held."""
        if start >= end:
            return False
        i = bisect_right(self._starts, start) - 1
        if i >= 0 and self._starts[i] + len(self._bufs[i]) > start:
            return True
        return i + 1 < len(self._starts) and self._starts[i + 1] < end

    def take(self, start: int, end: int) -> list[bytes | bytearray]:
        """Removes [start, end), which must be covered, and returns its buffers in order."""
        taken: list[bytes | bytearray] = []
        for piece in self.pieces(start, end):
            assert piece.data is not None, "a hole would shift all that follows"
            taken.append(piece.data if isinstance(piece.data, bytes | bytearray) else bytes(piece.data))
        self.remove(start, end)
        return taken

    def split(self, offset: int) -> Extents:
        """Removes what lies at or past `offset` and returns it."""
        upper = Extents()
        for piece in self.pieces(offset, self.end):
            if piece.data is not None:
                upper.write(piece.start, bytes(piece.data))
        self.cut(offset)
        return upper

    def shift(self, by: int) -> None:
        """Moves everything; nothing may come to lie before 0."""
        assert not self._starts or self._starts[0] + by >= 0, "before the beginning"
        self._starts = [start + by for start in self._starts]

    def overlay(self, upper: Extents) -> None:
        """Puts everything of `upper` on top of this."""
        for start, buf in upper:
            self.write(start, buf)

    def check(self) -> None:
        """Raises AssertionError where an invariant does not hold."""
        at = -1
        for start, buf in self:
            assert start >= at, "extents overlap"
            assert len(buf), "an extent is empty"
            at = start + len(buf)
        assert self.nbytes == sum(len(buf) for _, buf in self), "nbytes is wrong"
