"""How long the kernel may believe what it is told: as long as this mount does, from when it was true (S18.1)."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pyfuse3
import pytest
import trio
from pyfuse3 import EntryAttributes
from trio.testing import MockClock

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import ME, Disk, key, mounted
from vfs.core.filesystem import ROOT
from vfs.core.lifetime import OPEN_SECONDS
from vfs.fuse.adapter import Adapter
from vfs.store.base import ObjectMeta
from vfs.types import Ino

TTL = 300.0
OLD, NEW = b"old", b"new, and longer"


class Kernel:
    """Asks as the kernel does."""

    def __init__(self, disk: Disk, memory: MemoryStore) -> None:
        self.disk = disk
        self.memory = memory
        self.adapter = Adapter(disk.fs)
        self._ctx: Any = SimpleNamespace(uid=ME.uid, gid=ME.gid, pid=ME.pid, umask=ME.umask)

    async def put(self, path: str, data: bytes) -> None:
        """Another program, directly."""
        await self.memory.put(key(path), [data], ObjectMeta())

    async def lookup(self, path: str) -> EntryAttributes:
        """The last step of the way."""
        directory, _, name = path.rpartition("/")
        parent = (await self.disk.walk(directory)).ino
        entry = await self.adapter.lookup(parent, name.encode(), self._ctx)
        self.disk.known[Ino(entry.st_ino)] += 1
        return entry

    async def getattr(self, ino: int) -> EntryAttributes:
        return await self.adapter.getattr(ino, self._ctx)

    async def left(self, path: str) -> float:
        """For how long it may believe a name, and what it is told of the inode under it."""
        entry = await self.lookup(path)
        attributes = await self.getattr(entry.st_ino)
        assert entry.entry_timeout == entry.attr_timeout == attributes.attr_timeout
        return entry.entry_timeout

    async def readdir(self, path: str) -> dict[bytes, float]:
        """For how long it may believe what a listing shows."""
        shown: dict[bytes, float] = {}

        def reply(token: object, name: bytes, entry: EntryAttributes, following: int) -> bool:
            shown[name] = entry.attr_timeout
            self.disk.known[Ino(entry.st_ino)] += 1
            return True

        token: Any = None
        fh = await self.disk.fs.opendir((await self.disk.walk(path)).ino)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyfuse3, "readdir_reply", reply)
            await self.adapter.readdir(int(fh), 2, token)
        await self.disk.fs.releasedir(fh)
        return shown


@asynccontextmanager
async def kernel(revalidate: float = math.inf) -> AsyncIterator[Kernel]:
    memory = MemoryStore(S3_LIKE)
    async with mounted(memory, revalidate=revalidate) as disk:
        yield Kernel(disk, memory)
        disk.check_idle()


async def test_what_was_just_asked_holds_for_all_of_its_time(autojump_clock: MockClock) -> None:
    async with kernel() as one:
        await one.put("workspace/d/f", OLD)
        await one.put("memory/f", OLD)
        assert await one.left("workspace/d/f") == TTL
        assert await one.left("workspace/d") == TTL
        assert await one.left("memory/f") == 2 * TTL


@pytest.mark.parametrize("path", ["workspace/d/f", "workspace/d"])
async def test_what_was_asked_before_holds_for_what_is_left(path: str, autojump_clock: MockClock) -> None:
    async with kernel() as one:
        await one.put("workspace/d/f", OLD)
        assert await one.left(path) == TTL
        await trio.sleep(TTL - 2)
        assert await one.left(path) == 2
        await trio.sleep(2)
        assert await one.left(path) == TTL


async def test_old_data_is_shown_no_longer_than_that(autojump_clock: MockClock) -> None:
    """By a kernel that asks when it must."""
    async with kernel() as one:
        await one.put("workspace/f", OLD)
        ino = (await one.lookup("workspace/f")).st_ino
        begun = trio.current_time()
        await one.put("workspace/f", NEW)
        await trio.sleep(TTL - 1)
        while (entry := await one.getattr(ino)).st_size == len(OLD):
            await trio.sleep(entry.attr_timeout)
        assert trio.current_time() - begun == TTL


async def test_what_is_opened_is_asked_for_anyway(autojump_clock: MockClock) -> None:
    """Without a feed of changes nothing holds for longer than an open may believe it."""
    async with kernel(revalidate=1.0) as one:
        await one.put("workspace/f", OLD)
        assert await one.left("workspace/f") == 1
        await trio.sleep(TTL - 0.5)
        assert await one.left("workspace/f") == 0.5


async def test_what_a_listing_shows(autojump_clock: MockClock) -> None:
    """It holds for as long as what is known of each name, and no listing is asked for while that holds."""
    async with kernel() as one:
        await one.disk.save("workspace/f", b"x")
        await one.disk.mkdir("workspace/d")
        assert await one.readdir("workspace") == {b"d": TTL, b"f": TTL}
        await trio.sleep(100)
        assert await one.readdir("workspace") == {b"d": TTL - 100, b"f": TTL - 100}
        await trio.sleep(TTL)
        await one.put("workspace/new", NEW)
        await one.left("workspace/new")
        assert await one.readdir("workspace") == {b"d": TTL, b"f": TTL, b"new": TTL}
        await trio.sleep(10)
        assert await one.left("workspace/f") == TTL - 10


async def test_what_is_only_here_holds_for_all_of_its_time(autojump_clock: MockClock) -> None:
    async with kernel() as one:
        fh = await one.disk.create("workspace/f")
        await one.disk.write(fh, 0, NEW)
        assert await one.left("workspace/f") == TTL
        await one.disk.close(fh)
        await trio.sleep(2 * TTL)
        fh = await one.disk.open("workspace/f", os.O_WRONLY)
        await one.disk.write(fh, 0, OLD)
        assert await one.left("workspace/f") == TTL
        await one.disk.unlink("workspace/f")
        assert (await one.getattr(one.disk.fs.handles.file(fh).inode.ino)).attr_timeout == TTL
        await one.disk.close(fh)


async def test_what_was_stored_here_is_as_old_as_that(autojump_clock: MockClock) -> None:
    async with kernel() as one:
        await one.disk.save("workspace/f", OLD)
        await one.disk.mkdir("workspace/d")
        workspace = (await one.disk.walk("workspace")).ino
        link = await one.disk.fs.symlink(workspace, b"link", b"elsewhere", ME)
        one.disk.known[link.ino] += 1
        assert [await one.left(f"workspace/{name}") for name in ("f", "d", "link")] == [TTL] * 3
        await trio.sleep(100)
        await one.disk.change("workspace/f", mode=0o600)
        assert [await one.left(f"workspace/{name}") for name in ("f", "d", "link")] == [TTL, 200, 200]


async def test_the_roots_are_never_asked_for_again(autojump_clock: MockClock) -> None:
    async with kernel() as one:
        await trio.sleep(10 * TTL)
        assert (await one.getattr(ROOT)).attr_timeout == TTL
        assert await one.left("workspace") == TTL
        assert await one.left("memory") == 2 * TTL


async def test_an_open_file_is_asked_for_once_in_a_while(autojump_clock: MockClock) -> None:
    """It keeps its version until the last close, and not for longer; before every read would be too often."""
    async with kernel() as one:
        await one.put("workspace/f", OLD)
        fh = await one.disk.open("workspace/f", os.O_RDONLY)
        assert await one.left("workspace/f") == TTL
        await one.put("workspace/f", NEW)
        await trio.sleep(TTL - 0.5)
        assert await one.left("workspace/f") == OPEN_SECONDS
        await trio.sleep(1)
        for _ in range(2):
            entry = await one.lookup("workspace/f")  # asks the store, which has the other version now
            assert (entry.st_size, entry.attr_timeout) == (len(OLD), OPEN_SECONDS)
        await one.disk.close(fh)
        entry = await one.getattr(entry.st_ino)
        assert entry.st_size == len(NEW)
        assert 0 < entry.attr_timeout <= TTL


async def test_an_open_directory(autojump_clock: MockClock) -> None:
    async with kernel() as one:
        await one.disk.mkdir("workspace/d")
        fh = await one.disk.fs.opendir((await one.disk.walk("workspace/d")).ino)
        assert await one.left("workspace/d") == TTL
        await trio.sleep(2 * TTL)
        assert await one.left("workspace/d") == OPEN_SECONDS
        await one.disk.fs.releasedir(fh)
        assert await one.left("workspace/d") == TTL


async def test_each_of_several_names_has_its_own_age(autojump_clock: MockClock) -> None:
    async with kernel() as one:
        await one.disk.save("workspace/a", OLD)
        await trio.sleep(100)
        await one.disk.link("workspace/a", "workspace/b")
        first, second = await one.lookup("workspace/a"), await one.lookup("workspace/b")
        assert first.st_ino == second.st_ino
        assert (first.entry_timeout, second.entry_timeout) == (TTL - 100, TTL)
        assert (await one.getattr(first.st_ino)).attr_timeout == TTL - 100
        assert await one.readdir("workspace") == {b"a": TTL - 100, b"b": TTL}
        await one.disk.unlink("workspace/b")
