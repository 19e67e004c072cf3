"""A file that another writer replaces between its open here and the first read of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import MemoryStore
from tests.unit.disk import Disk, key, mounted
from vfs.errors import Stale
from vfs.store.base import ObjectMeta
from vfs.store.layers import Call, Layer, T, Thunk
from vfs.types import Fh, Ino

PATH = "workspace/file"


class Between(Layer):
    """Something happens before, or after, each of the next calls of a name."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.before: dict[str, list[Callable[[], Awaitable[object]]]] = {}
        self.after: dict[str, list[Callable[[], Awaitable[object]]]] = {}

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        for what in self.before.get(call.name, [])[:1]:
            self.before[call.name].remove(what)
            await what()
        result = await thunk()
        for what in self.after.get(call.name, [])[:1]:
            self.after[call.name].remove(what)
            await what()
        return result


@dataclass
class World:
    """A mount that has the file open, and the store in which others replace it."""

    disk: Disk
    store: Between
    memory: MemoryStore
    fh: Fh
    outdated: list[Ino]

    async def other(self, data: bytes) -> None:
        """Another writer's version."""
        await self.memory.put(key(PATH), [data], ObjectMeta())


@asynccontextmanager
async def opened(flags: int = os.O_RDONLY, old: bytes = b"old" * 100) -> AsyncIterator[World]:
    """The file has been looked up and opened, and nothing was read yet."""
    memory = MemoryStore()
    await memory.put(key(PATH), [old], ObjectMeta())
    store = Between(memory)
    async with mounted(store) as disk:
        outdated: list[Ino] = []
        disk.fs.outdated = outdated.append
        fh = await disk.open(PATH, flags)
        yield World(disk, store, memory, fh, outdated)
        for each in list(disk.open_files):
            await disk.close(each)
        disk.check_idle()


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDONLY | os.O_NOATIME])
@pytest.mark.parametrize("new", [b"new" * 100, b"new" * 1000])
async def test_the_first_read_gives_the_new_version(new: bytes, flags: int) -> None:
    async with opened(flags) as world:
        inode = await world.disk.walk(PATH)
        await world.other(new)
        assert await world.disk.read(world.fh) == new
        assert await world.disk.read(world.fh, 3, 5) == new[3:8]
        assert (await world.disk.stat(PATH)).attr.size == len(new)
        assert world.outdated == [inode.ino]
        await world.disk.close(world.fh)
        assert await world.disk.load(PATH) == new


@pytest.mark.parametrize("new", [b"", b"new" * 99])
async def test_a_shorter_version_is_not_read(new: bytes) -> None:
    """The kernel would show zeros up to the old end, if it was told anything while it read."""
    async with opened() as world:
        await world.other(new)
        for _ in range(2):
            with pytest.raises(Stale):
                await world.disk.read(world.fh)


async def test_a_version_of_which_something_was_read_stays() -> None:
    async with opened(old=b"o" * 2_000_000) as world:
        assert await world.disk.read(world.fh, 0, 10) == b"o" * 10
        await world.other(b"n" * 2_000_000)
        for _ in range(2):
            with pytest.raises(Stale):
                await world.disk.read(world.fh, 1_000_000, 10)


async def test_the_next_version_that_is_opened_was_not_read(autojump_clock: MockClock) -> None:
    """Though the one before was."""
    async with opened() as world:
        assert await world.disk.read(world.fh) == b"old" * 100
        await world.disk.close(world.fh)
        await world.other(b"second" * 60)
        await trio.sleep(1.5)
        fh = await world.disk.open(PATH, os.O_RDONLY)
        await world.other(b"third" * 80)
        assert await world.disk.read(fh) == b"third" * 80


async def test_two_readers_see_the_same() -> None:
    async with opened() as world:
        second = await world.disk.open(PATH, os.O_RDONLY)
        await world.other(b"new" * 200)
        assert await world.disk.read(world.fh) == await world.disk.read(second) == b"new" * 200


async def test_what_arrives_late_of_the_old_version_is_not_given_out() -> None:
    """Of two reads under way one is answered before the other writer came, as far as the store is concerned."""
    async with opened(old=b"o" * 2_000_000) as world:
        let_go, seen = trio.Event(), {}

        async def read(at: int) -> None:
            seen[at] = await world.disk.read(world.fh, at, 10)

        world.store.after["get"] = [let_go.wait]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, 0)
            await trio.testing.wait_all_tasks_blocked()
            await world.other(b"n" * 2_000_000)
            await read(1_000_000)
            let_go.set()
        assert seen == {0: b"n" * 10, 1_000_000: b"n" * 10}


async def test_what_was_given_out_while_the_new_version_was_asked_for_counts() -> None:
    async with opened(old=b"o" * 2_000_000) as world:
        let_go, seen = trio.Event(), []

        async def read() -> None:
            seen.append(await world.disk.read(world.fh, 0, 10))

        async def finish() -> None:
            let_go.set()
            await trio.testing.wait_all_tasks_blocked()

        world.store.after["get"] = [let_go.wait]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await world.other(b"n" * 2_000_000)
            world.store.before["head"] = [finish]
            with pytest.raises(Stale):
                await world.disk.read(world.fh, 1_000_000, 10)
        assert seen == [b"o" * 10]


@pytest.mark.parametrize(("times", "given"), [(4, True), (20, False)])
async def test_a_writer_who_is_always_faster(times: int, given: bool) -> None:
    async with opened() as world:
        count = 0

        async def again() -> None:
            nonlocal count
            count += 1
            await world.other(b"new" * (100 + count))

        world.store.before["get"] = [again] * times
        if given:
            assert await world.disk.read(world.fh) == b"new" * (100 + times)
            return
        with pytest.raises(Stale):
            await world.disk.read(world.fh)
        assert count == 6
        world.store.before.clear()
        assert await world.disk.read(world.fh) == b"new" * (100 + count)


async def test_a_file_that_is_removed_or_is_something_else_now() -> None:
    async with opened() as world:
        await world.memory.delete(key(PATH))
        with pytest.raises(Stale):
            await world.disk.read(world.fh)
    async with opened() as world:
        await world.memory.put(key(PATH), [b"target"], ObjectMeta({"mode": "41471"}))
        with pytest.raises(Stale):
            await world.disk.read(world.fh)


async def test_a_file_that_is_open_to_write_as_well() -> None:
    async with opened() as world:
        await world.disk.open(PATH, os.O_WRONLY)
        await world.other(b"new")
        with pytest.raises(Stale):
            await world.disk.read(world.fh)


async def test_what_was_written_here_is_known_here(autojump_clock: MockClock) -> None:
    """The kernel has its pages: even if the very same bytes, and so the same etag, were there before."""
    async with opened(old=b"same") as world:
        writer = await world.disk.open(PATH, os.O_WRONLY)
        await world.disk.write(writer, 0, b"same")
        await world.disk.close(writer)
        inode = await world.disk.walk(PATH)
        assert inode.content is not None
        inode.content.drop_clean()
        await world.other(b"new")
        with pytest.raises(Stale):
            await world.disk.read(world.fh)


async def test_a_kernel_that_cannot_be_told_of_the_new_size() -> None:
    """It would read as far as the old one, and take that for the end."""

    async def not_told() -> bool:
        await trio.lowlevel.checkpoint()
        return False

    async with opened() as world:
        second = await world.disk.open(PATH, os.O_RDONLY)
        world.disk.fs.kernel_told = not_told
        await world.other(b"new" * 1000)
        for fh in (world.fh, second):
            with pytest.raises(Stale):
                await world.disk.read(fh)
