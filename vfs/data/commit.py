"""`commit`: makes the object equal to the content, by the cheapest way there is.

    fits in one part              one PUT
    larger, new or rewritten      multipart: parts sent while the program wrote, and the rest now
    larger, partly changed        multipart: clean ranges copied inside the store, changed parts read and overlaid

The base's etag goes along as precondition, so that a version that somebody else stored meanwhile is never dropped
silently: see `vfs.data.conflict`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import structlog
import trio

from vfs.data.conflict import ATTEMPTS, Conflicts
from vfs.data.content import Content
from vfs.data.snapshot import Snapshot, Stream
from vfs.data.stream import Shipper
from vfs.errors import (
    FileTooBig,
    ObjectNotFound,
    PreconditionFailed,
    Stale,
    StoreError,
    StoreUnavailable,
    VfsError,
    leading,
)
from vfs.store.base import Body, ObjectInfo, ObjectStore, Part
from vfs.store.copying import copy_object
from vfs.types import Buffer, ETag

log = structlog.get_logger()


ATTEMPT_PAUSE = 0.02
"""Seconds, and so many more with every try: which of several who append at once is first is left to chance."""


class BaseGone(Stale):
    """An edit still needs bytes of a version that another writer replaced."""


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
        self.conflicts = Conflicts(store)
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
        limits = self._store.capabilities
        snapshot = content.freeze(limits.max_parts, late_meta=limits.late_meta)
        stored = False
        try:
            snapshot, info = await self._replace(content, snapshot)
            stored = True
        except VfsError as error:
            content.fail(error)
            raise
        finally:
            if not stored:
                content.thaw()
        content.committed(snapshot, info)
        await self._spread(content, info)
        return info

    async def _spread(self, content: Content, info: ObjectInfo) -> None:
        """Every other name gets what the first one has; until then the content is not stored."""
        subject = content.subject
        content.spreading = True
        done = False
        try:
            for key, known in subject.others():
                await self.conflicts.keep_unknown(key, known)
                subject.copied(await copy_object(self._store, info, key))
            done = True
        except VfsError as error:
            content.fail(error)
            raise
        finally:
            content.spreading = False
            content.changed |= not done

    async def _replace(self, content: Content, snapshot: Snapshot) -> tuple[Snapshot, ObjectInfo]:
        """Stores the snapshot, or what it became when another writer was quicker; returns what was stored."""
        for attempt in range(ATTEMPTS):
            try:
                info = await self._write(content, snapshot)
            except (PreconditionFailed, BaseGone) as error:
                rebased = await self.conflicts.append(content, snapshot)
                if rebased is not None:
                    await self._shipper.abort(content.drop_stream())
                    snapshot = rebased
                    await trio.sleep(random.uniform(0, ATTEMPT_PAUSE * attempt))
                elif isinstance(error, BaseGone):
                    raise
                else:
                    other = await self.conflicts.keep_other(snapshot.keys[0])
                    content.send_again()
                    snapshot = replace(snapshot, replaced=True, expected=other)
            else:
                if info.size != snapshot.size:
                    raise StoreError(f"{info.key}: stored {info.size} bytes of {snapshot.size}")
                return snapshot, info
        raise StoreUnavailable(
            f"{snapshot.keys[0]}: others stored {ATTEMPTS} versions while this one was on its way"
        )

    async def _conditions(self, snapshot: Snapshot) -> tuple[ETag | None, bool]:
        """`if_match` and `if_absent` of a write that must drop nobody's version. Raises PreconditionFailed."""
        if snapshot.base is not None and snapshot.base.key != snapshot.keys[0]:
            return None, False
        if not self._store.capabilities.conditional_put:
            await self.conflicts.look(snapshot)
            return None, False
        return snapshot.expected, snapshot.expected is None

    async def _write(self, content: Content, snapshot: Snapshot) -> ObjectInfo:
        key = snapshot.keys[0]
        if snapshot.size <= content.part_size and not content.shipping:
            if content.stream is not None:  # begun for a part that a truncate then took away
                await self._shipper.abort(content.drop_stream())
            body = await self._body(content, snapshot, 0, snapshot.size)
            if_match, if_absent = await self._conditions(snapshot)
            return await self._store.put(key, body, snapshot.meta, if_match=if_match, if_absent=if_absent)
        stream = await self._parts(content, snapshot)
        parts = [stream.parts[number] for number in sorted(stream.parts)]
        if_match, if_absent = await self._conditions(snapshot)
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

    # -- multipart -------------------------------------------------------------------------------------------

    async def _parts(self, content: Content, snapshot: Snapshot) -> Stream:
        stream = content.stream
        if stream is None:
            upload = await self._store.create_upload(snapshot.keys[0], snapshot.meta)
            stream = content.stream = Stream(upload, snapshot.meta, {})
        regions = self._numbered(
            self._joined(list(self._regions(content, snapshot, stream)), content), stream
        )
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
        limits = self._store.capabilities
        longest = size if limits.equal_parts else limits.max_copy // size * size
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

    def _joined(self, regions: list[Region], content: Content) -> list[Region]:
        """Two neighbours of which only some bytes are new become one: one GET and one part instead of two each."""
        assert content.frozen is not None
        joined: list[Region] = []
        for region in regions:
            before = joined[-1] if joined else None
            if (
                before is not None
                and before.end == region.start
                and not self._store.capabilities.equal_parts
                and before.end - before.start <= content.part_size
                and not any(
                    one.copied or content.frozen.covers(one.start, one.end) for one in (before, region)
                )
                and region.start < content.base_limit
            ):
                joined[-1] = before._replace(end=region.end)
            else:
                joined.append(region)
        return joined

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
            if_match = snapshot.base.etag
            if snapshot.replaced:
                raise _base_gone(snapshot)
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


def _base_gone(snapshot: Snapshot) -> BaseGone:
    return BaseGone(f"{snapshot.keys[0]}: the version this edit builds on was replaced by another writer")
