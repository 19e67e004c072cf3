"""`commit`: makes the object equal to the content, by the cheapest way there is.

    fits in one part              one PUT
    larger, new or rewritten      multipart: parts sent while the program wrote, and the rest now
    larger, partly changed        multipart: clean ranges copied inside the store, changed parts read and overlaid

The base's etag goes along as precondition, so that a version that somebody else stored meanwhile is never dropped
silently: it is kept beside the name, as `name.conflict-<host>-<time>`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import structlog
import trio

from vfs.data.content import Content, Snapshot, Stream
from vfs.data.stream import Shipper
from vfs.errors import (
    FileTooBig,
    ObjectNotFound,
    PreconditionFailed,
    Stale,
    StoreError,
    VfsError,
    leading,
)
from vfs.store.base import Body, ObjectInfo, ObjectStore, Part
from vfs.store.copying import copy_object
from vfs.types import Buffer, ETag, Key

log = structlog.get_logger()


class Region(NamedTuple):
    """A range of the object to be and the number of the part that holds it; `copied` inside the store."""

    number: int
    start: int
    end: int
    copied: bool


class Committer:
    """Stores contents. One for the whole mount; `slots` bounds the parts on their way."""

    def __init__(self, store: ObjectStore, shipper: Shipper, slots: trio.CapacityLimiter) -> None:
        self._store = store
        self._shipper = shipper
        self._slots = slots
        self._patches = trio.CapacityLimiter(2)
        """Parts that are read, overlaid and sent: each holds up to one part of RAM outside the budget."""

    async def commit(self, content: Content) -> ObjectInfo | None:
        """Returns when what was dirty on entry is stored; None if nothing was. The caller pins the path.

        Raises the sticky error of the content, which a failure here becomes.
        """
        async with content.lock:
            content.raise_error()
            info = None
            while content.dirty and (info is None or content.rest):
                info = await self._commit(content)
            return info

    async def _commit(self, content: Content) -> ObjectInfo:
        snapshot = content.freeze(self._store.capabilities.max_parts)
        stored = False
        try:
            info = await self._replace(content, snapshot)
            stored = True
        except VfsError as error:
            content.fail(error)
            raise
        finally:
            if not stored:
                content.thaw()
        content.committed(snapshot, info)
        await self._spread(content, info, snapshot.keys[1:])
        return info

    async def _spread(self, content: Content, info: ObjectInfo, others: Sequence[Key]) -> None:
        """Every other name gets what the first one has; until then the content is not stored."""
        content.spreading = True
        done = False
        try:
            for key in others:
                await copy_object(self._store, info, key)
            done = True
        except VfsError as error:
            content.fail(error)
            raise
        finally:
            content.spreading = False
            content.changed |= not done

    async def _replace(self, content: Content, snapshot: Snapshot) -> ObjectInfo:
        try:
            info = await self._write(content, snapshot, snapshot.base.etag if snapshot.base else None)
        except PreconditionFailed:
            await self._keep_other(snapshot.keys[0])
            info = await self._write(content, snapshot, None, force=True)
        if info.size != snapshot.size:
            raise StoreError(f"{info.key}: stored {info.size} bytes of {snapshot.size}")
        return info

    async def _write(
        self, content: Content, snapshot: Snapshot, if_match: ETag | None, *, force: bool = False
    ) -> ObjectInfo:
        key = snapshot.keys[0]
        conditional = self._store.capabilities.conditional_put and not force
        if not conditional or (snapshot.base is not None and snapshot.base.key != key):
            if_match = None
        if_absent = conditional and snapshot.base is None
        if snapshot.size <= content.part_size and not content.shipping:
            if content.stream is not None:
                await self._shipper.abort(
                    content.drop_stream()
                )  # begun for a part that a truncate then took away
            body = await self._body(content, snapshot, 0, snapshot.size)
            return await self._store.put(key, body, snapshot.meta, if_match=if_match, if_absent=if_absent)
        stream = await self._parts(content, snapshot)
        parts = [stream.parts[number] for number in sorted(stream.parts)]
        if self._store.capabilities.late_meta:
            return await self._store.complete_upload(
                stream.upload, parts, snapshot.meta, if_match=if_match, if_absent=if_absent
            )
        info = await self._store.complete_upload(stream.upload, parts, if_match=if_match, if_absent=if_absent)
        if stream.meta == snapshot.meta:
            return info
        try:
            return await copy_object(self._store, info, key, snapshot.meta)
        except (PreconditionFailed, ObjectNotFound):
            log.warning("file was replaced elsewhere right after it was stored here", key=key)
            return info

    async def _keep_other(self, key: Key) -> None:
        """Another writer stored a version since ours was opened: it stays, under a name of its own."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = Key(f"{key}.conflict-{socket.gethostname()}-{stamp}-{time.time_ns() % 1_000_000:06d}")
        try:
            await copy_object(self._store, await self._store.head(key), name)
        except ObjectNotFound:
            log.info("file was deleted elsewhere while open here; stored again", key=key)
        else:
            log.warning("file was changed elsewhere while open here; kept both", key=key, other=name)

    # -- multipart -------------------------------------------------------------------------------------------

    async def _parts(self, content: Content, snapshot: Snapshot) -> Stream:
        stream = content.stream
        if stream is None:
            upload = await self._store.create_upload(snapshot.keys[0], snapshot.meta)
            stream = content.stream = Stream(upload, snapshot.meta, {})
        regions = self._numbered(list(self._regions(content, snapshot, stream)), stream)
        try:
            async with trio.open_nursery() as nursery:
                for region in regions:
                    await self._slots.acquire_on_behalf_of((content, region))
                    nursery.start_soon(self._send, content, snapshot, stream, region)
        except BaseExceptionGroup as group:
            raise leading(group) from group
        return stream

    def _regions(self, content: Content, snapshot: Snapshot, stream: Stream) -> Iterator[Region]:
        """Every part that is not in the upload yet. Clean neighbours become one copy, as large as allowed."""
        size, frozen = content.part_size, content.frozen
        assert frozen is not None
        longest = self._store.capabilities.max_copy // size * size
        run: Region | None = None
        for start in range(0, snapshot.size, size):
            number, end = start // size + 1, min(start + size, snapshot.size)
            sent = number in stream.parts
            clean = end <= snapshot.base_limit and not frozen.touches(start, end)
            if run and (sent or not clean or end - run.start > longest):
                yield run
                run = None
            if sent:
                continue
            if not clean or not self._store.capabilities.copy_part:
                yield Region(number, start, end, copied=False)
            else:
                run = (
                    Region(run.number, run.start, end, copied=True)
                    if run
                    else Region(number, start, end, True)
                )
        if run:
            yield run

    def _numbered(self, regions: list[Region], stream: Stream) -> list[Region]:
        """Parts are numbered by offset; in an object past max_parts of them each copied range counts as one.

        Raises FileTooBig when not even that fits.
        """
        limit = self._store.capabilities.max_parts
        if regions and regions[-1].number > limit and not stream.parts:
            regions = [region._replace(number=number) for number, region in enumerate(regions, 1)]
        if regions and regions[-1].number > limit:
            raise FileTooBig(f"more than {limit} parts would have to be sent at once")
        return regions

    async def _send(self, content: Content, snapshot: Snapshot, stream: Stream, region: Region) -> None:
        try:
            stream.parts[region.number] = await self._send_region(content, snapshot, stream, region)
        finally:
            self._slots.release_on_behalf_of((content, region))

    async def _send_region(
        self, content: Content, snapshot: Snapshot, stream: Stream, region: Region
    ) -> Part:
        number, start, end, copied = region
        if copied:
            assert snapshot.base is not None
            if_match = snapshot.base.etag if self._store.capabilities.conditional_copy else None
            try:
                return await self._store.copy_part(
                    stream.upload, number, snapshot.base.key, start, end - start, if_match=if_match
                )
            except (PreconditionFailed, ObjectNotFound) as error:
                raise _base_gone(snapshot) from error
        async with self._patches:
            body = await self._body(content, snapshot, start, end)
            return await self._store.upload_part(stream.upload, number, body)

    async def _body(self, content: Content, snapshot: Snapshot, start: int, end: int) -> Body:
        """The bytes [start, end) of the snapshot; what RAM lacks is read from the base with one GET."""
        pieces = list(content.stored_pieces(snapshot, start, end))
        missing = [piece for piece in pieces if piece.data is None]
        if not missing:
            return [piece.data for piece in pieces if piece.data is not None]
        low, high = missing[0].start, missing[-1].start + missing[-1].length
        assert snapshot.base is not None
        try:
            got = await self._store.get(snapshot.base.key, low, high - low, if_match=snapshot.base.etag)
        except (PreconditionFailed, ObjectNotFound) as error:
            raise _base_gone(snapshot) from error
        if len(got.data) != high - low:
            raise _base_gone(snapshot)
        fetched = memoryview(got.data)
        body: list[Buffer] = []
        for piece in pieces:
            at = piece.start - low
            body.append(fetched[at : at + piece.length] if piece.data is None else piece.data)
        return body


def _base_gone(snapshot: Snapshot) -> Stale:
    return Stale(f"{snapshot.keys[0]}: the version this edit builds on was replaced by another writer")
