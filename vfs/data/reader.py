"""Reads of one open file: RAM where it can, ranged GETs of one pinned version where it must.

A program that reads in order gets a window that doubles with every step, up to `read_ahead`, as several ranges in
flight. One that jumps about gets what it asked for and nothing more.
"""

from __future__ import annotations

from collections import OrderedDict

import structlog
import trio

from vfs.data.content import Content
from vfs.data.read_ahead import ReadAhead
from vfs.data.snapshot import Base
from vfs.errors import ObjectNotFound, PreconditionFailed, Stale, StoreError
from vfs.store.base import ObjectStore
from vfs.types import Buffer

FIRST_WINDOW = 512 << 10
"""Read ahead after the second read in order, bytes; doubles from there."""

SEGMENT = 4 << 20
"""Largest single range asked for ahead, bytes."""

SLACK = 2 << 20
"""How far behind the reading position data is kept: the kernel sends its own read-ahead out of order."""

log = structlog.get_logger()


class Segment:
    """A range of the base, on its way or here."""

    __slots__ = ("base", "data", "done", "end", "scope", "start")

    def __init__(self, base: Base, start: int, end: int) -> None:
        self.base = base
        self.start = start
        self.end = end
        self.data: Buffer | None = None
        """None after `done`: it was dropped, or the store failed; whoever needs the bytes asks for them himself."""
        self.done = trio.Event()
        self.scope = trio.CancelScope()


class Reader:
    """One per handle. INVARIANT: every segment held is charged to the budget with its length."""

    def __init__(self, store: ObjectStore, ahead: ReadAhead, shared: int = 0) -> None:
        """Files of up to `shared` bytes are asked for without a range: other mounts may have them."""
        self._store = store
        self._shared = shared
        self._room = ahead
        self._segments: OrderedDict[int, Segment] = OrderedDict()
        self._expected = 0
        self._window = 0
        self._ahead = 0
        """Offset up to which segments have been asked for."""

    async def read(self, content: Content, offset: int, size: int) -> bytes:
        """Bytes [offset, offset+size) as far as the file goes.

        Raises Stale when the base was replaced meanwhile, by a commit or by another writer. The caller made sure,
        in the same step, that nothing of it is shipped.
        """
        self._observe(offset, size)
        if self._segments:
            self._room.used(self)
        base = content.base
        pieces = list(content.pieces(offset, offset + size))
        self._look_ahead(content)
        if all(piece.data is not None for piece in pieces):
            return b"".join(piece.data for piece in pieces if piece.data is not None)
        ram = [bytes(piece.data) if piece.data is not None else None for piece in pieces]
        assert base is not None, "bytes of a base that is not there"
        try:
            for i, piece in enumerate(pieces):
                if ram[i] is None:
                    ram[i] = await self._stored(content, base, piece.start, piece.length)
        except (PreconditionFailed, ObjectNotFound) as error:
            raise Stale(f"{base.key}: replaced while open here") from error
        return b"".join(part for part in ram if part is not None)

    def close(self) -> None:
        """Gives back what was read ahead."""
        self.drop_ahead()
        self._room.leave(self)

    def drop_ahead(self) -> None:
        """The same for now; a reader that goes on begins with a small window."""
        for segment in list(self._segments.values()):
            self._drop(segment)
        self._window = self._ahead = 0

    # -- what is asked of the store --------------------------------------------------------------------------

    async def _stored(self, content: Content, base: Base, start: int, length: int) -> bytes:
        """[start, start+length) of the base, from segments where they have it."""
        out: list[bytes] = []
        at, end = start, start + length
        while at < end:
            segment = self._find(base, at)
            if segment is None:
                upto = min(
                    [end, *(s.start for s in self._segments.values() if s.start > at and s.base == base)]
                )
                data = await self._fetch(content, base, at, upto)
            else:
                await segment.done.wait()
                if segment.data is None:
                    self._drop(segment)
                    continue
                data = bytes(
                    memoryview(segment.data)[at - segment.start : min(end, segment.end) - segment.start]
                )
            out.append(data)
            at += len(data)
        return out[0] if len(out) == 1 else b"".join(out)

    def _find(self, base: Base, at: int) -> Segment | None:
        for segment in self._segments.values():
            if segment.start <= at < segment.end and segment.base == base:
                return segment
        return None

    async def _fetch(self, content: Content, base: Base, start: int, end: int) -> bytes:
        """A read that a program waits for; a file that fits in one part is read whole and kept."""
        whole = base.size <= min(content.part_size, FIRST_WINDOW) and content.base_limit == base.size
        low, high = (0, base.size) if whole else (start, end)
        length = None if whole and base.size <= self._shared else high - low
        got = await self._store.get(base.key, low, length, if_match=base.etag)
        if len(got.data) != high - low:
            text = f"{base.key}: {len(got.data)} bytes where {high - low} were expected"
            if got.info.etag == base.etag:  # cut on its way: no other version, so nobody need open it again
                raise StoreError(text)
            raise PreconditionFailed(text)
        if not whole:
            return bytes(got.data)
        if content.base == base and content.base_limit == base.size:
            content.remember(0, got.data)
        return bytes(memoryview(got.data)[start:end])

    # -- read-ahead ------------------------------------------------------------------------------------------

    def _observe(self, offset: int, size: int) -> None:
        """Grows the window while reads go on in order, closes it at a jump."""
        if abs(offset - self._expected) > SLACK:
            self._window = self._ahead = 0
            self._expected = offset + size
        elif offset + size > self._expected:
            if self._expected:
                self._window = min(max(self._window * 2, FIRST_WINDOW), self._room.window)
            self._expected = offset + size
        for segment in [
            s for s in self._segments.values() if s.end < offset - SLACK or s.start > self._far()
        ]:
            self._drop(segment)

    def _far(self) -> int:
        return self._expected + self._room.window + SEGMENT

    def _look_ahead(self, content: Content) -> None:
        """Asks for what lies between the last request and the end of the window."""
        base = content.base
        if not self._window or base is None or base.size <= FIRST_WINDOW:
            return
        end = min(self._expected + self._window, content.base_limit)
        at = max(self._ahead, self._expected)
        step = min(SEGMENT, max(self._window // 4, FIRST_WINDOW // 2))
        while at < end and (end - at >= step or end == content.base_limit):
            upto = min(at + step, end)
            if not self._room.take(self, upto - at):
                self._window = max(self._window // 2, FIRST_WINDOW)
                return
            if at in self._segments:  # left from before a jump back, or of a base that was replaced
                self._drop(self._segments[at])
            segment = Segment(base, at, upto)
            self._segments[at] = segment
            self._room.spawn(lambda segment=segment: self._fill(segment))  # type: ignore[misc]
            at = self._ahead = upto

    async def _fill(self, segment: Segment) -> None:
        start, length = segment.start, segment.end - segment.start
        try:
            with segment.scope:
                got = await self._store.get(segment.base.key, start, length, if_match=segment.base.etag)
                if len(got.data) == length:
                    segment.data = got.data
        except StoreError as error:
            log.debug("read-ahead failed", key=segment.base.key, error=str(error))
        finally:
            segment.done.set()

    def _drop(self, segment: Segment) -> None:
        if self._segments.get(segment.start) is segment:
            del self._segments[segment.start]
            segment.scope.cancel()
            self._room.give_back(segment.end - segment.start)
