"""Sends full parts to the store while the program goes on writing.

A part leaves `live` when the writing position has passed its end. The first part stays in RAM, because programs go
back to rewrite headers, and so does the part being written. What has been sent cannot be read or rewritten until the
upload is complete: whoever wants that commits first.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from vfs.data.content import Content
from vfs.data.snapshot import Stream
from vfs.errors import StoreError, VfsError, leading
from vfs.store.base import Body, ObjectStore

log = structlog.get_logger()


def full_parts(content: Content, start: int, end: int) -> bool:
    """True if a write of [start, end) reached the end of a part that may be sent now."""
    size = content.part_size
    last = end // size
    return last >= 2 and last * size > start and content.live.covers((last - 1) * size, last * size)


def next_full_part(content: Content, first: int = 2) -> int | None:
    """Number of the lowest part, from `first` on, that `live` covers wholly; None if there is none."""
    size = content.part_size
    number = first
    for start, buf in content.live:
        number = max(number, start // size + 1)
        while (number - 1) * size < start + len(buf) and number * size <= content.size:
            if content.live.covers((number - 1) * size, number * size):
                return number
            number += 1
    return None


class Shipper:
    """Uploads full parts of any content, at most `slots` parts of all files at once."""

    def __init__(self, store: ObjectStore, slots: trio.CapacityLimiter) -> None:
        self._store = store
        self._slots = slots

    async def ship(self, content: Content, first: int = 2, awaited: Callable[[], bool] = bool) -> None:
        """Sends full parts until there are none, or a commit wants its turn. The caller pins the path.

        It ends as well when `awaited` says that somebody waits for the path; what is left goes with the next part.

        Raises no VfsError: a failure sticks to the content, whose program hears of it at its next call.
        """
        async with content.lock:
            try:
                async with trio.open_nursery() as nursery:
                    while content.error is None and not content.lock.statistics().tasks_waiting:
                        if awaited() or not await self._send_one(content, first, nursery):
                            break
            except BaseExceptionGroup as group:
                error = leading(group)
                if not isinstance(error, VfsError):
                    raise
                content.fail(error)
        if content.error is not None:
            log.error("upload failed", key=content.subject.keys()[0], error=str(content.error))

    def ready(self, content: Content, first: int = 2) -> int | None:
        """Number of the part to send next, from `first` on; None if there is none.

        Parts are numbered by offset. An object that reaches past the last number cannot be replaced by a stream: it
        is only committed, with its clean ranges as single parts.
        """
        limit = self._store.capabilities.max_parts
        if content.base_limit > limit * content.part_size:
            return None
        number = next_full_part(content, first)
        return number if number is not None and number <= limit else None

    async def _send_one(self, content: Content, first: int, nursery: trio.Nursery) -> bool:
        """Starts one part on its way; False if none is full. The part is chosen after all waiting is done."""
        if self.ready(content, first) is None:
            return False
        turn = object()
        await self._slots.acquire_on_behalf_of(turn)
        sent = False
        try:
            stream = content.stream or await self._begin(content)
            number = self.ready(content, first)
            if number is not None:
                nursery.start_soon(self._send, content, stream, number, self._take(content, number), turn)
                sent = True
        finally:
            if not sent:
                self._slots.release_on_behalf_of(turn)
        return sent

    async def _begin(self, content: Content) -> Stream:
        meta = content.subject.meta()
        upload = await self._store.create_upload(content.subject.keys()[0], meta)
        content.stream = Stream(upload, meta, {})
        return content.stream

    def _take(self, content: Content, number: int) -> Body:
        end = number * content.part_size
        body = content.live.take(end - content.part_size, end)
        content.shipping[number] = content.part_size
        content.settle()
        return body

    async def _send(self, content: Content, stream: Stream, number: int, body: Body, turn: object) -> None:
        try:
            stream.parts[number] = await self._store.upload_part(stream.upload, number, body)
        except VfsError as error:
            content.fail(error)
        except BaseException:
            content.fail(StoreError(f"part {number} was interrupted on its way to the store"))
            raise
        finally:
            self._slots.release_on_behalf_of(turn)
            if number in content.shipping:
                content.shipping[number] = 0
            content.settle()

    async def abort(self, stream: Stream | None) -> None:
        """Frees what an upload holds in the store; if that fails, it is debris, not an error."""
        if stream is None:
            return
        try:
            await self._store.abort_upload(stream.upload)
        except StoreError as error:
            log.info("upload left behind", key=stream.upload.key, error=str(error))
