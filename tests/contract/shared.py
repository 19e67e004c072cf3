"""The shared caches that the contract runs on, and a listener that remembers what it heard."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import trio

from tests.memory_shared import MemoryServer, MemoryShared
from tests.servers.redis import RedisServer
from vfs.meta.entry import Entry
from vfs.meta.redis import Limits, Location, RedisCache
from vfs.meta.shared import Change, SharedCache
from vfs.types import Attr, ETag, Key

KEY = Key("users/u/workspace/a")

SECONDS = 10.0
"""Longest wait for something that has to happen."""

MakeShared = Callable[[], SharedCache]


class Heard:
    """A Listener."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.states: list[bool] = []
        self._news = trio.Event()

    def changed(self, changes: Sequence[Change]) -> None:
        self.changes += changes
        self._wake()

    def connected(self, alive: bool) -> None:
        self.states.append(alive)
        self._wake()

    async def until(self, agrees: Callable[[Heard], bool]) -> None:
        with trio.fail_after(SECONDS):
            while not agrees(self):
                await self._news.wait()

    async def alive(self) -> None:
        await self.until(lambda heard: heard.states[-1:] == [True])

    async def away(self) -> None:
        await self.until(lambda heard: heard.states[-1:] == [False])

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


def entry(size: int = 1, etag: str = "e1", *, mode: int = 0o100644, **rest: object) -> Entry:
    attr = Attr(mode, 1000, 1000, size, 5_000_000_001, 6, 7, **rest)  # type: ignore[arg-type]
    return Entry(attr, ETag(etag), True, 42)


FOLDER = entry(0, "", mode=0o040755)


def in_memory() -> MakeShared:
    server = MemoryServer()
    return lambda: MemoryShared(server)


def in_redis(server: RedisServer, limits: Limits | None = None, url: str = "") -> MakeShared:
    """Mounts of a user that no other test has."""
    user, location = f"u{secrets.token_hex(8)}", Location.parse(url or server.url, {})
    return lambda: RedisCache(location, "file:///store", user, limits)
