"""Attributes that are stored alone, beside commits, writes and failures."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.memory_shared import MemoryServer, MemoryShared
from tests.unit.disk import ME, Disk, key, mounted, stored
from vfs.core.filesystem import Changes
from vfs.errors import PreconditionFailed, Stale, StoreUnavailable
from vfs.store.layers import Call, Layer, T, Thunk
from vfs.store.metered import Metered

PART = 16


class LateAnswers(Layer):
    """Does at once what it is asked; the first call of a name in `seconds` is answered so much later."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.seconds: dict[str, float] = {}

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        result = await thunk()
        await trio.sleep(self.seconds.pop(call.name, 0))
        return result


async def edit(disk: Disk, path: str, data: bytes) -> None:
    fh = await disk.open(path)
    await disk.write(fh, 0, data)
    await disk.close(fh)


async def test_a_chmod_beside_a_commit(autojump_clock: MockClock) -> None:
    """`: > f` in one shell and `chmod f` in another: the object that one copies is what the other replaces."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"first")
        for number in range(5):
            store.slow("put|copy", seconds=1, count=2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disk.save, "workspace/f", b"%d" % number)
                await trio.sleep(number / 4)
                nursery.start_soon(lambda mode=0o600 + number: disk.change("workspace/f", mode=mode))  # type: ignore[misc]
            store.clear()
            assert await stored(store, "workspace/f") == b"%d" % number
            disk.forget_all()
            disk.fs.cache.forget_all()
            assert (await disk.stat("workspace/f")).attr.mode & 0o777 == 0o600 + number
            assert disk.fs.last_error == ""


async def test_a_chmod_that_fails_takes_back_nothing_else(autojump_clock: MockClock) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"first")
        fh = await disk.open("workspace/f", os.O_RDONLY)
        store.slow("copy", seconds=1, count=1)
        store.fail_before("copy")

        async def change() -> None:
            with pytest.raises(StoreUnavailable):
                await disk.change("workspace/f", mode=0o600)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            await trio.sleep(0.5)
            other = await disk.open("workspace/f", os.O_WRONLY)
            await disk.write(other, 0, b"second, longer")
        attr = (await disk.stat("workspace/f")).attr
        assert (attr.mode & 0o777, attr.size) == (0o644, 14)
        await disk.close(other)
        await disk.close(fh)
        assert await disk.load("workspace/f") == b"second, longer"


async def test_a_removed_file_is_not_changed(autojump_clock: MockClock) -> None:
    """By another mount: ESTALE makes the kernel look the path up once more."""
    memory = MemoryStore(S3_LIKE)
    store = Metered(memory)
    async with mounted(store, revalidate=float("inf")) as here, mounted(memory) as there:
        await here.save("workspace/f", b"ours")
        await there.unlink("workspace/f")
        with pytest.raises(Stale):
            await here.change("workspace/f", mode=0o600)
        assert await here.find("workspace/f") is None


@pytest.mark.parametrize("dropped", [True, False], ids=["read again", "still in RAM"])
@pytest.mark.parametrize("size", [PART // 3, 3 * PART])
async def test_a_chmod_whose_answer_is_overtaken_by_a_commit(
    size: int, dropped: bool, autojump_clock: MockClock
) -> None:
    """Of a file that nobody has read here: its version is not the one that the chmod has made."""
    memory = MemoryStore(S3_LIKE)
    async with mounted(memory, part_size=PART) as there:
        await there.save("workspace/f", b"o" * size)
    store = LateAnswers(memory)
    async with mounted(store, part_size=PART) as disk:
        inode = await disk.walk("workspace/f")
        store.seconds["copy"] = 2.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.fs.setattr, inode.ino, Changes(mode=0o600), None, ME)
            await trio.sleep(0.5)
            await disk.save("workspace/f", b"N" * size)
        assert inode.etag == (await memory.head(key("workspace/f"))).etag
        if dropped:
            disk.fs.release_content(inode)
            assert await disk.load("workspace/f") == b"N" * size
        await edit(disk, "workspace/f", b"E")
        assert (await disk.stat("workspace/f")).attr.mode & 0o777 == 0o600
        disk.fs.check()
    assert await stored(memory, "workspace/f") == b"E" + b"N" * (size - 1)
    assert [name for name in memory.stored() if "conflict" in name] == []


@pytest.mark.parametrize("together", [True, False], ids=["told by the feed", "asked for again"])
async def test_attributes_that_come_too_late_for_another_version_are_given_up(
    together: bool, autojump_clock: MockClock
) -> None:
    """Set while a commit was under way, and told to who set them at his close: nothing is left to be stored."""
    memory, server = MemoryStore(S3_LIKE), MemoryServer()
    store = LateAnswers(memory)
    caches = [MemoryShared(server) if together else None for _ in range(2)]
    async with mounted(store, caches[0]) as here, mounted(memory, caches[1]) as there:
        await trio.sleep(1)
        await here.save("workspace/f", b"first")
        fh = await here.open("workspace/f")
        await here.write(fh, 0, b"FIRST")
        store.seconds["put"] = 2.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.fs.fsync, fh)
            await trio.sleep(0.5)
            await here.change("workspace/f", mode=0o600)
        await there.save("workspace/f", b"theirs")
        with pytest.raises(PreconditionFailed):
            await here.close(fh)
        assert not (await here.walk("workspace/f")).busy
        for _ in range(2):
            await trio.sleep(10)
            assert await here.load("workspace/f") == b"theirs"
        await here.change("workspace/f", mode=0o640)
    assert await stored(memory, "workspace/f") == b"theirs"
    async with mounted(memory) as third:
        assert (await third.stat("workspace/f")).attr.mode & 0o777 == 0o640


async def test_the_attributes_of_a_symlink_are_not_put_on_what_replaced_it(autojump_clock: MockClock) -> None:
    memory = MemoryStore(S3_LIKE)
    async with mounted(memory) as here, mounted(memory) as there:
        place = (await here.walk("workspace")).ino
        link = await here.fs.symlink(place, b"f", b"target", ME)
        here.known[link.ino] += 1
        await there.unlink("workspace/f")
        await there.save("workspace/f", b"theirs, a regular file")
        with pytest.raises(Stale):
            await here.fs.setattr(link.ino, Changes(mtime_ns=5), None, ME)
        assert await stored(memory, "workspace/f") == b"theirs, a regular file"
        await here.change("workspace/f", mtime_ns=5)
        assert await here.load("workspace/f") == b"theirs, a regular file"
    assert await stored(memory, "workspace/f") == b"theirs, a regular file"


async def test_a_chmod_by_a_store_without_conditional_copies_changes_the_version_that_is_there(
    autojump_clock: MockClock,
) -> None:
    memory = MemoryStore(replace(S3_LIKE, conditional_copy=False))
    async with mounted(memory) as here, mounted(memory) as there:
        await here.save("workspace/f", b"ours")
        await there.save("workspace/f", b"theirs, much longer")
        await here.change("workspace/f", mode=0o600)
        attr = (await here.stat("workspace/f")).attr
        assert (attr.mode & 0o777, attr.size) == (0o600, 19)
        assert await here.load("workspace/f") == b"theirs, much longer"


async def test_a_chmod_of_a_file_that_nobody_has_open_leaves_nothing_in_ram() -> None:
    async with mounted(MemoryStore(S3_LIKE)) as disk:
        await disk.save("workspace/f", b"content")
        inode = await disk.walk("workspace/f")
        disk.fs.release_content(inode)
        await disk.change("workspace/f", mode=0o600)
        assert inode.content is None
