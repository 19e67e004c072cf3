"""Mounts of one user that share a cache: what one does the others see, and what one asked the others need not ask."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import S3_LIKE, MemoryStore
from tests.memory_shared import MemoryServer, MemoryShared
from tests.unit.disk import Disk, key, mounted
from vfs.core.inodes import Inode
from vfs.meta.shared import SharedStatistics
from vfs.meta.sharing import FILL_PAUSE
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.store.metered import Metered
from vfs.types import Ino


@dataclass
class Desk:
    """One mount, the requests it makes, and what it tells the kernel."""

    disk: Disk
    store: Metered
    shared: MemoryShared
    names: list[tuple[Ino, bytes]]
    attributes: list[Ino]

    def asked(self) -> Counter[str]:
        return Counter({name: call.ended for name, call in self.store.statistics().calls.items()})

    @property
    def trips(self) -> int:
        return self.shared.statistics().round_trips


class World:
    """Any number of mounts over one store and one cache."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.memory = MemoryStore(S3_LIKE)
        self.server = MemoryServer()

    async def mount(self, inner: ObjectStore | None = None, **changes: object) -> Desk:
        store = Metered(inner or self.memory)
        shared = MemoryShared(self.server, time.time())
        disk = await self._stack.enter_async_context(mounted(store, shared, **changes))
        desk = Desk(disk, store, shared, [], [])
        disk.fs.dropped = lambda parent, name: desk.names.append((parent, name))
        disk.fs.outdated = desk.attributes.append
        await wait_all_tasks_blocked()
        return desk


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


async def both(made: World, **changes: object) -> tuple[Desk, Desk]:
    return await made.mount(**changes), await made.mount(**changes)


async def told() -> None:
    """News has arrived, and what is filled in behind the back of programs is there."""
    await trio.sleep(3 * FILL_PAUSE)
    await wait_all_tasks_blocked()


async def seen(desk: Desk, path: str) -> Inode | None:
    return await desk.disk.find(path)


async def test_what_one_mount_does_the_other_sees() -> None:
    async with world() as made:
        one, other = await both(made)
        assert await seen(other, "workspace/f") is None
        await one.disk.save("workspace/f", b"first")
        await told()
        assert await other.disk.load("workspace/f") == b"first"
        await one.disk.save("workspace/f", b"second, longer")
        await told()
        assert await other.disk.load("workspace/f") == b"second, longer"
        await one.disk.change("workspace/f", mode=0o600)
        await told()
        assert (await other.disk.stat("workspace/f")).attr.mode & 0o777 == 0o600
        await one.disk.mkdir("workspace/d")
        await one.disk.rename("workspace/f", "workspace/d/g")
        await told()
        assert await other.disk.tree() == ["workspace/d", "workspace/d/g"]
        await one.disk.rename("workspace/d", "workspace/e")
        await told()
        assert await other.disk.tree() == ["workspace/e", "workspace/e/g"]
        assert await seen(other, "workspace/d") is None
        await one.disk.unlink("workspace/e/g")
        await one.disk.rmdir("workspace/e")
        await told()
        assert await other.disk.listdir("workspace") == []


async def test_nobody_asks_the_store_for_what_the_feed_told() -> None:
    async with world() as made:
        one, other = await both(made)
        await other.disk.listdir("workspace")
        await one.disk.save("workspace/f", b"content")
        await told()
        before, trips = other.asked(), other.trips
        assert (await other.disk.stat("workspace/f")).attr.size == 7
        assert await other.disk.listdir("workspace") == ["f"]
        assert other.asked() == before
        assert other.trips == trips
        assert await other.disk.load("workspace/f") == b"content"
        assert other.asked() == before, "small contents are shared too"
        assert other.trips == trips + 1


async def test_a_file_that_is_open_keeps_its_version() -> None:
    async with world() as made:
        one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        fh = await other.disk.open("workspace/f")
        assert await other.disk.read(fh) == b"first"
        await one.disk.save("workspace/f", b"second")
        await told()
        assert await other.disk.read(fh) == b"first"
        assert (await other.disk.stat("workspace/f")).attr.size == 5
        await other.disk.close(fh)
        assert await other.disk.load("workspace/f") == b"second"


async def test_a_file_that_is_open_and_removed_elsewhere_has_no_name() -> None:
    async with world() as made:
        one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        fh = await other.disk.open("workspace/f", os.O_RDONLY)
        assert await other.disk.read(fh) == b"first"
        await one.disk.unlink("workspace/f")
        await told()
        assert await seen(other, "workspace/f") is None
        assert await other.disk.listdir("workspace") == []
        assert await other.disk.read(fh) == b"first"
        await other.disk.save("workspace/f", b"another file")
        assert await other.disk.read(fh) == b"first"
        await other.disk.close(fh)
        assert await other.disk.load("workspace/f") == b"another file"


async def test_a_file_that_is_written_and_removed_elsewhere_is_stored_again() -> None:
    async with world() as made:
        one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        fh = await other.disk.open("workspace/f", os.O_WRONLY)
        await one.disk.unlink("workspace/f")
        await told()
        await other.disk.write(fh, 0, b"later")
        await other.disk.close(fh)
        await told()
        assert await one.disk.load("workspace/f") == await other.disk.load("workspace/f") == b"later"


async def test_the_kernel_is_told() -> None:
    async with world() as made:
        one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        inode = await other.disk.walk("workspace/f")
        workspace = (await other.disk.walk("workspace")).ino
        other.names.clear()
        await one.disk.save("workspace/f", b"second")
        await told()
        assert inode.ino in other.attributes
        await one.disk.save("workspace/new", b"")
        await told()
        assert (workspace, b"new") in other.names
        await one.disk.unlink("workspace/f")
        await told()
        assert (workspace, b"f") in other.names
        assert one.names == []


async def test_own_changes_are_told_before_an_operation_returns() -> None:
    async with world() as made:
        one, _ = await both(made)
        done = 0
        for operation in (
            lambda: one.disk.save("workspace/f", b"x"),
            lambda: one.disk.change("workspace/f", mode=0o600),
            lambda: one.disk.mkdir("workspace/d"),
            lambda: one.disk.rename("workspace/f", "workspace/d/f"),
            lambda: one.disk.unlink("workspace/d/f"),
            lambda: one.disk.rmdir("workspace/d"),
        ):
            await operation()
            assert one.shared.statistics().published > done
            done = one.shared.statistics().published
            assert not one.disk.fs.cache.sharing._pending


async def filled(desk: Desk, files: int, directory: str = "workspace/d") -> None:
    await desk.disk.mkdir(directory)
    for number in range(files):
        await desk.disk.save(f"{directory}/{number}", b"x")


async def test_a_cold_mount_with_a_warm_cache_lists_without_asking() -> None:
    async with world() as made:
        one = await made.mount()
        await filled(one, 300)
        cold = await made.mount()
        await seen(cold, "workspace/d")
        before, trips = cold.asked(), cold.trips
        for name in await cold.disk.listdir("workspace/d"):
            await cold.disk.stat(f"workspace/d/{name}")
        cost = cold.asked() - before
        assert cost["head"] == 0
        assert cost["list"] <= 1
        assert cold.trips - trips <= 3
        await told()
        before, trips = cold.asked(), cold.trips
        assert len(await cold.disk.tree("workspace/d")) == 300
        assert cold.asked() == before
        assert cold.trips == trips


async def test_what_one_found_out_the_next_need_not_ask() -> None:
    """Nobody wrote these files while a mount was there."""
    async with world() as made:
        for number in range(200):
            await made.memory.put(key(f"workspace/d/{number}"), [b"x"], ObjectMeta({"mode": "33152"}))
        first = await made.mount()
        assert len(await first.disk.tree("workspace/d")) == 200
        await told()
        second = await made.mount()
        before = second.asked()
        assert len(await second.disk.tree("workspace/d")) == 200
        assert (second.asked() - before)["head"] == 0


async def test_a_name_that_is_missing_is_asked_for_once() -> None:
    async with world() as made:
        one, other = await both(made)
        assert await seen(one, "workspace/none") is None
        before = one.asked()
        assert await seen(one, "workspace/none") is None
        assert one.asked() == before
        await told()
        before = other.asked()
        assert await seen(other, "workspace/none") is None
        assert other.asked() == before


async def test_reads_and_writes_of_an_open_file_take_no_round_trip() -> None:
    async with world() as made:
        one = await made.mount()
        await one.disk.save("workspace/f", b"x" * 1000)
        fh = await one.disk.open("workspace/f")
        await told()
        trips = one.trips
        for at in range(100):
            await one.disk.write(fh, at, b"y")
            await one.disk.read(fh, at, 10)
            await one.disk.stat("workspace/f")
        assert one.trips == trips
        await one.disk.close(fh)


async def test_both_write_the_same_file_at_once() -> None:
    """The feed does not tell in which order they wrote, so both ask the store."""
    async with world() as made:
        one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        await other.disk.save("workspace/f", b"second")
        await one.disk.save("workspace/f", b"third")
        await told()
        truth = bytes((await made.memory.get(key("workspace/f"))).data)
        for desk in (one, other):
            assert await desk.disk.load("workspace/f") == truth


@pytest.mark.parametrize("who", [0, 1], ids=["to who keeps it", "to the other"])
async def test_a_version_that_is_kept_beside_is_told_of(who: int, autojump_clock: MockClock) -> None:
    """Although a complete listing without it is known to all."""
    async with world() as made:
        desks = one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        for desk in desks:
            assert await desk.disk.tree() == ["workspace/f"]
        await told()
        fh = await one.disk.open("workspace/f")
        await one.disk.write(fh, 0, b"ours.")
        await other.disk.save("workspace/f", b"theirs")
        await one.disk.close(fh)
        await told()
        prefix = key("")
        (kept,) = (name[len(prefix) :] for name in made.memory.stored() if "conflict" in name)
        assert await desks[who].disk.load(kept) == b"theirs"
        assert await desks[who].disk.tree() == ["workspace/f", kept]


async def test_without_the_cache_the_store_is_asked(autojump_clock: MockClock) -> None:
    """And nobody notices but by the time it takes."""
    async with world() as made:
        one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        assert await other.disk.load("workspace/f") == b"first"
        made.server.set_away(True)
        await told()
        await one.disk.save("workspace/f", b"second")
        await one.disk.save("workspace/g", b"new")
        await trio.sleep(6)
        assert await other.disk.load("workspace/f") == b"second"
        assert await other.disk.listdir("workspace") == ["f", "g"]
        made.server.set_away(False)
        await told()
        assert other.disk.fs.cache.sharing.heard
        await one.disk.save("workspace/f", b"third")
        await told()
        assert await other.disk.load("workspace/f") == b"third"


async def test_when_changes_are_lost_nothing_is_believed() -> None:
    async with world() as made:
        one, other = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        assert await other.disk.load("workspace/f") == b"first"
        await made.memory.put(key("workspace/f"), [b"behind their backs"], ObjectMeta())
        made.server.forget()
        await told()
        assert await other.disk.load("workspace/f") == b"behind their backs"


async def test_statistics_tell_of_it() -> None:
    async with world() as made:
        one = await made.mount()
        numbers = one.disk.fs.statistics().shared
        assert isinstance(numbers, SharedStatistics)
        assert numbers.state == "connected"


async def test_a_version_heard_of_while_the_file_is_open_is_there_after_the_last_close() -> None:
    async with world() as made:
        one, other = await both(made)
        fh = await one.disk.create("workspace/f")
        await one.disk.write(fh, 0, b"first")
        await one.disk.fs.fsync(fh)
        await told()
        await trio.sleep(2)
        await other.disk.save("workspace/f", b"second, longer")
        await told()
        await one.disk.close(fh)
        assert await one.disk.load("workspace/f") == b"second, longer"


@pytest.mark.parametrize("path", ["workspace/f", ""])
async def test_refresh_reaches_what_others_know(path: str) -> None:
    async with world() as made:
        one, _ = await both(made)
        await one.disk.save("workspace/f", b"first")
        await told()
        await made.memory.put(key("workspace/f"), [b"from a browser"], ObjectMeta())
        await one.disk.fs.ask_again(path)
        assert await one.disk.load("workspace/f") == b"from a browser"
