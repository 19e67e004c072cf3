"""Small objects in the shared cache: what one mount wrote or read, another reads without asking the store.

A layer around the store. The key is the version, so what is found is right or is not found.
"""

from __future__ import annotations

from vfs.meta.shared import SharedCache
from vfs.meta.sharing import Spawn
from vfs.store.base import Body, Fetched, ObjectInfo, ObjectMeta, ObjectStore
from vfs.store.layers import Layer
from vfs.types import ETag, Key


class SharedContents(Layer):
    """Objects of at most `limit` bytes that are read whole by version (no `length`), or put."""

    def __init__(self, inner: ObjectStore, shared: SharedCache, limit: int, spawn: Spawn) -> None:
        super().__init__(inner)
        self._shared = shared
        self._limit = limit
        self._spawn = spawn

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        if start or length is not None or if_match is None:
            return await self.inner.get(key, start, length, if_match=if_match)
        data = await self._shared.content(key, if_match)
        if data is not None:
            return Fetched(ObjectInfo(key, len(data), if_match, 0), data)
        got = await self.inner.get(key, start, length, if_match=if_match)
        if 0 < got.info.size == len(got.data) <= self._limit:
            self._keep(key, got.info.etag, bytes(got.data))
        return got

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        info = await self.inner.put(key, body, meta, if_match=if_match, if_absent=if_absent)
        if 0 < info.size <= self._limit:
            self._keep(key, info.etag, b"".join(bytes(buffer) for buffer in body))
        return info

    def _keep(self, key: Key, etag: ETag, data: bytes) -> None:
        self._spawn(lambda: self._shared.keep_content(key, etag, data))
