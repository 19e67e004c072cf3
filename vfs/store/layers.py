"""What stands around a store, whatever store it is: one `Layer` base, one method to override.

A layer sees every call as its name, its key, how many bytes it moves, and a thunk that makes it. Layers know
nothing of files; stores know nothing of deadlines or metrics. `vfs.store.opening` puts them together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import trio

from vfs.errors import StoreTimeout
from vfs.store.base import (
    Body,
    Capabilities,
    Fetched,
    ListPage,
    ObjectInfo,
    ObjectMeta,
    ObjectStore,
    Part,
    StoreFailure,
    Upload,
    Usage,
)
from vfs.types import ETag, Key

T = TypeVar("T")
Thunk = Callable[[], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the protocol: the method's name, the key or prefix it is about, and the bytes that it moves.

    `size` is None where only the store can know it (a whole object read or copied).
    """

    name: str
    key: str = ""
    size: int | None = 0


class Layer:
    """Passes every call on to `inner`. A layer overrides `around`, and need not know the protocol."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner!r}>"

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        """Makes the call, once or more often, or not at all."""
        return await thunk()

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def head(self, key: Key) -> ObjectInfo:
        return await self.around(Call("head", key), partial(self.inner.head, key))

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        thunk = partial(self.inner.get, key, start, length, if_match=if_match)
        return await self.around(Call("get", key, length), thunk)

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        thunk = partial(self.inner.put, key, body, meta, if_match=if_match, if_absent=if_absent)
        return await self.around(Call("put", key, _length(body)), thunk)

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        thunk = partial(self.inner.list, prefix, delimiter=delimiter, token=token, limit=limit)
        return await self.around(Call("list", prefix), thunk)

    async def delete(self, key: Key) -> None:
        await self.around(Call("delete", key), partial(self.inner.delete, key))

    async def delete_many(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        return await self.around(Call("delete_many"), partial(self.inner.delete_many, keys))

    async def copy(
        self, source: Key, target: Key, meta: ObjectMeta | None = None, *, if_match: ETag | None = None
    ) -> ObjectInfo:
        thunk = partial(self.inner.copy, source, target, meta, if_match=if_match)
        return await self.around(Call("copy", target, None), thunk)

    async def create_upload(self, key: Key, meta: ObjectMeta) -> Upload:
        return await self.around(Call("create_upload", key), partial(self.inner.create_upload, key, meta))

    async def upload_part(self, upload: Upload, number: int, body: Body) -> Part:
        thunk = partial(self.inner.upload_part, upload, number, body)
        return await self.around(Call("upload_part", upload.key, _length(body)), thunk)

    async def copy_part(
        self,
        upload: Upload,
        number: int,
        source: Key,
        start: int,
        length: int,
        *,
        if_match: ETag | None = None,
    ) -> Part:
        thunk = partial(self.inner.copy_part, upload, number, source, start, length, if_match=if_match)
        return await self.around(Call("copy_part", upload.key, length), thunk)

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[Part],
        meta: ObjectMeta | None = None,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        size = sum(part.size for part in parts)
        thunk = partial(
            self.inner.complete_upload, upload, parts, meta, if_match=if_match, if_absent=if_absent
        )
        return await self.around(Call("complete_upload", upload.key, size), thunk)

    async def abort_upload(self, upload: Upload) -> None:
        await self.around(Call("abort_upload", upload.key), partial(self.inner.abort_upload, upload))

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        return await self.around(Call("list_uploads", prefix), partial(self.inner.list_uploads, prefix))

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        return await self.around(Call("list_parts", upload.key), partial(self.inner.list_parts, upload))

    async def rename(self, source: Key, target: Key) -> None:
        await self.around(Call("rename", source), partial(self.inner.rename, source, target))

    async def exchange(self, one: Key, other: Key) -> None:
        await self.around(Call("exchange", one), partial(self.inner.exchange, one, other))

    async def presign(self, key: Key, seconds: int) -> str:
        return await self.around(Call("presign", key), partial(self.inner.presign, key, seconds))

    async def usage(self) -> Usage | None:
        return await self.around(Call("usage"), self.inner.usage)

    async def aclose(self) -> None:
        """Not a call of the store: no layer may refuse or delay it."""
        await self.inner.aclose()


class Limit(Layer):
    """At most `at_once` calls are made at a time; the others wait in line."""

    def __init__(self, inner: ObjectStore, at_once: int) -> None:
        super().__init__(inner)
        self._limiter = trio.CapacityLimiter(at_once)

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        borrower = object()  # a task may make several calls at once, through child tasks or not
        await self._limiter.acquire_on_behalf_of(borrower)
        try:
            return await thunk()
        finally:
            self._limiter.release_on_behalf_of(borrower)

    def statistics(self) -> trio.CapacityLimiterStatistics:
        return self._limiter.statistics()


class Deadline(Layer):
    """Each call ends within `seconds`, plus a second for every MiB that it moves; else StoreTimeout.

    A store that cannot give up a change halfway (file://) ends it before the deadline takes effect.
    """

    BYTES_PER_SECOND = 1 << 20
    """A rate below which a connection is as good as dead."""

    UNKNOWN_SIZE = 45 << 20
    """Bytes assumed where only the store knows how many it must move: copies, which it makes in itself, faster."""

    def __init__(self, inner: ObjectStore, seconds: float) -> None:
        super().__init__(inner)
        self._seconds = seconds

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        size = self.UNKNOWN_SIZE if call.size is None else call.size
        allowed = self._seconds + size / self.BYTES_PER_SECOND
        with trio.move_on_after(allowed):
            return await thunk()
        raise StoreTimeout(f"{call.name} {call.key!r}: no answer within {allowed:.0f} s")


L = TypeVar("L", bound=Layer)


def outermost(store: ObjectStore, kind: type[L]) -> L | None:
    """The layer of that kind, the outermost if there are several; None if there is none."""
    while isinstance(store, Layer):
        if isinstance(store, kind):
            return store
        store = store.inner
    return None


def innermost(store: ObjectStore) -> ObjectStore:
    """The store itself, without the layers around it."""
    while isinstance(store, Layer):
        store = store.inner
    return store


def _length(body: Body) -> int:
    return sum(memoryview(buffer).nbytes for buffer in body)
