"""The shared cache of a mount that shares with nobody: it knows nothing, costs nothing and tells nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from vfs.meta.shared import Change, Folder, Listener, Record, SharedStatistics
from vfs.types import ETag, Key


class Alone:
    """A SharedCache."""

    async def folder(self, path: str) -> Folder:
        return Folder()

    async def name(self, path: str, key: Key) -> tuple[Record | None, int]:
        return None, -1

    async def names(self, paths: Sequence[str]) -> Mapping[str, Record]:
        return {}

    async def fill(
        self, directory: str, names: Mapping[str, Record], *, complete: float, version: int
    ) -> None:
        return

    async def publish(self, changes: Sequence[Change]) -> None:
        return

    async def content(self, key: Key, etag: ETag) -> bytes | None:
        return None

    async def keep_content(self, key: Key, etag: ETag, data: bytes) -> None:
        return

    def statistics(self) -> SharedStatistics:
        return SharedStatistics()

    async def run(self, listener: Listener) -> None:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        return
