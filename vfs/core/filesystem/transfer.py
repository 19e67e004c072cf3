"""Objects that go from one key, or from under one prefix, to another.

Where the store cannot rename, everything is copied before anything is deleted. A directory may have millions of
objects, and what is kept of each until it is deleted is in nobody's budget: so that is its name and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

import structlog
import trio

from vfs.core.volume import Volume
from vfs.errors import ObjectNotFound, StoreError, StoreTimeout, StoreUnavailable, leading
from vfs.store.base import ObjectInfo, ObjectStore
from vfs.store.copying import copy_object
from vfs.types import ETag, Key

log = structlog.get_logger()

UNDO_PAUSE = 1.0
"""Seconds between tries to undo while the store does not answer."""


class Transfer:
    """One move in the store. Keys that end in `/` stand for everything under them.

    Objects of which somebody here knows a version are `known` by what follows the prefix, which is "" for a single
    one; `etags` are the new versions of those that still had that one. `directories` are those that had anything in
    them, named likewise.
    """

    def __init__(
        self, volume: Volume, source: Key, target: Key, known: Mapping[str, ETag] = MappingProxyType({})
    ) -> None:
        self._volume = volume
        self._known = known
        self.source, self.target = source, target
        self.etags: dict[str, ETag] = {}
        self.directories: set[str] = set()
        self.returned: dict[str, ETag] = {}
        """What `etags` is after `undo`: versions of what had to be copied back."""
        self.marker = False
        """The directory at `source` was an object of its own."""
        self._pages: list[str] = []
        """Names of what was copied, as JSON, page by page: 45 bytes each, half of what a str takes."""

    async def run(self) -> None:
        """Raises StoreError: everything is at the source, or at the target, or some at the source too."""
        await self.bring()
        await self.clear()

    async def bring(self) -> None:
        """First half: everything is at the target."""
        store = self._volume.store
        if store.capabilities.rename:
            await store.rename(self.source, self.target)
        elif self.source.endswith("/"):
            async for page in Pages(store, self.source):
                if page:
                    await self._copy_all(page)
        else:
            await self._copy_all([await store.head(self.source)])

    async def clear(self) -> None:
        """Second half: what was copied is not at the source any more."""
        for names in self._copied():
            await self._delete([Key(self.source + name) for name in names])

    async def clear_if_possible(self, seconds: float) -> None:
        """`clear` where nothing depends on it: what it leaves is a copy, and a cancellation waits so many seconds."""
        reason: StoreError = StoreTimeout("time was up")
        with trio.CancelScope(shield=True), trio.move_on_after(seconds):
            try:
                await self.clear()
                return
            except StoreError as error:
                reason = error
        log.warning("a copy was left behind", key=self.source, error=str(reason))

    async def undo(self) -> None:
        """Everything is at the source as before, and nothing of it at the target. May be repeated when it failed.

        Nothing is deleted that is not at the source then: where another writer took its place it stays at the target.
        Raises StoreError.
        """
        store = self._volume.store
        if store.capabilities.rename:
            if not await self._anything_left():
                with suppress(ObjectNotFound):
                    await store.rename(self.target, self.source)
            return
        for names in self._copied():
            gone: list[Key] = []
            try:
                async with trio.open_nursery() as nursery:
                    for name in names:
                        nursery.start_soon(self._return, name, gone)
            except BaseExceptionGroup as group:
                raise leading(group) from group
            if gone:
                await self._delete(gone)

    async def _return(self, name: str, gone: list[Key]) -> None:
        store, source, target = self._volume.store, Key(self.source + name), Key(self.target + name)
        async with self._volume.parallel:
            copy = await _head(store, target)
            if copy is None:
                return
            left = await _head(store, source)
            if left is None:
                back = await copy_object(store, copy, source)
                if self.etags.get(name) == copy.etag:
                    self.returned[name] = back.etag
            elif not _same(left, copy):
                log.error("kept: its name was taken while it was moved", key=target, name=source)
                return
        gone.append(target)

    async def _anything_left(self) -> bool:
        store = self._volume.store
        if self.source.endswith("/"):
            return bool((await store.list(self.source, limit=1)).objects)
        return await _head(store, self.source) is not None

    async def _copy_all(self, objects: Sequence[ObjectInfo]) -> None:
        self._pages.append(json.dumps([info.key[len(self.source) :] for info in objects]))
        try:
            async with trio.open_nursery() as nursery:
                for info in objects:
                    nursery.start_soon(self._copy, info)
        except BaseExceptionGroup as group:
            raise leading(group) from group

    async def _copy(self, info: ObjectInfo) -> None:
        name = info.key[len(self.source) :]
        async with self._volume.parallel:
            copied = await copy_object(self._volume.store, info, Key(self.target + name))
        if self._known.get(name) == info.etag:
            self.etags[name] = copied.etag
        self.marker |= not name
        self.directories.add(name.rpartition("/")[0])

    def _copied(self) -> Iterator[list[str]]:
        return (json.loads(page) for page in self._pages)

    async def _delete(self, keys: Sequence[Key]) -> None:
        store = self._volume.store
        if not self.source.endswith("/"):
            await store.delete(keys[0])
            return
        failed = await store.delete_many(keys)
        if failed:
            first = next(iter(failed.values()))
            raise StoreError(
                f"{len(failed)} objects were copied but not deleted: {first.key}: {first.reason}"
            )


async def undo_all(begun: Sequence[Transfer], seconds: float) -> None:
    """Undoes moves that depend on each other, the last one first, if the store answers within so many seconds.

    Whoever is cancelled waits for it too. What could not be moved back is where it had got to, and logged.
    """
    reason: StoreError = StoreTimeout("time was up")
    with trio.CancelScope(shield=True), trio.move_on_after(seconds):
        try:
            while True:
                try:
                    for move in reversed(begun):
                        await move.undo()
                    return
                except StoreUnavailable as error:
                    reason = error
                await trio.sleep(UNDO_PAUSE)  # a store that was away for long may be back at any moment
        except StoreError as error:
            reason = error
    moved = {move.source: move.target for move in begun}
    log.error("moves could not be undone: `agentfs gc` finds what lies aside", moved=moved, error=str(reason))


async def _head(store: ObjectStore, key: Key) -> ObjectInfo | None:
    try:
        return await store.head(key)
    except ObjectNotFound:
        return None


def _same(one: ObjectInfo, other: ObjectInfo) -> bool:
    """One is a copy of the other, as both are stored.

    A copy may have another etag, where that is no MD5 of the content. Metadata has the time of the last change in
    nanoseconds, so that equal ones are no accident.
    """
    if one.size != other.size:
        return False
    if one.etag == other.etag:
        return True
    if one.meta is not None and one.meta.metadata:
        return one.meta == other.meta
    return "-" in one.etag + other.etag  # of a multipart upload, whose copy has another


class Pages:
    """Everything under a prefix, up to 1000 objects at a time, in the order of keys."""

    def __init__(self, store: ObjectStore, prefix: Key) -> None:
        self._store = store
        self._prefix = prefix
        self._token: str | None = None
        self._done = False

    def __aiter__(self) -> Pages:
        return self

    async def __anext__(self) -> Sequence[ObjectInfo]:
        if self._done:
            raise StopAsyncIteration
        page = await self._store.list(self._prefix, token=self._token)
        self._token = page.token
        self._done = page.token is None
        return page.objects


async def is_copied(store: ObjectStore, source: Key, target: Key) -> bool:
    """Something is under `source`, and all of it under `target` too.

    Both are in the same order and listed side by side, so that neither need be kept.
    """
    there, found = Pages(store, target), False
    rest: Iterator[ObjectInfo] = iter(())
    async for page in Pages(store, source):
        for info in page:
            found = True
            name = info.key[len(source) :]
            while (copy := next((one for one in rest if one.key[len(target) :] == name), None)) is None:
                objects = await anext(there, None)
                if objects is None:
                    return False
                rest = iter(objects)
            # a copy of a multipart upload has another etag
            if copy.size != info.size or (copy.etag != info.etag and "-" not in info.etag):
                return False
    return found
