"""A file with several names: each is an object of its own, which other mounts may replace, change and remove."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.unit.disk import ME, Disk, key, mounted, stored
from vfs.core.filesystem import Changes
from vfs.errors import Exists, NotFound, Stale, StoreUnavailable
from vfs.store.base import Capabilities, ObjectMeta
from vfs.store.layers import Call, Layer, T, Thunk
from vfs.store.metered import Metered

LATER = 1.5
"""Seconds after which an open asks again (`--revalidate`)."""

MOMENT = 5.5
"""Seconds after which nothing is believed absent any more (`negative_ttl`)."""

NAMES = ("one", "two", "three")


CAN = {"conditional copies": S3_LIKE, "none": replace(S3_LIKE, conditional_copy=False)}

every_store = pytest.mark.parametrize("can", CAN.values(), ids=CAN)


@asynccontextmanager
async def linked(can: Capabilities = S3_LIKE) -> AsyncIterator[tuple[Disk, Disk, MemoryStore]]:
    """A mount on which a file has three names, and another mount, for which they are three files."""
    store = MemoryStore(can)
    async with mounted(store) as here, mounted(store) as there:
        await here.save("workspace/one", b"first")
        for name in NAMES[1:]:
            await here.link("workspace/one", f"workspace/{name}")
        assert await there.listdir("workspace") == sorted(NAMES)
        await trio.sleep(LATER)
        yield here, there, store


async def inodes(disk: Disk) -> list[int]:
    """Which names are one file: the same number stands for the same."""
    found = [(await disk.walk(f"workspace/{name}")).ino for name in NAMES]
    return [found.index(ino) for ino in found]


@pytest.mark.parametrize("name", NAMES)
async def test_they_are_one_file_as_long_as_nobody_else_changes_it(
    name: str, autojump_clock: MockClock
) -> None:
    async with linked() as (here, there, _):
        await here.save(f"workspace/{name}", b"second, longer")
        await here.change(f"workspace/{name}", mode=0o600)
        for _ in range(3):
            await trio.sleep(LATER)
            assert await inodes(here) == [0, 0, 0]
            for each in NAMES:
                assert await here.load(f"workspace/{each}") == b"second, longer"
                assert await there.load(f"workspace/{each}") == b"second, longer"
                assert (await there.stat(f"workspace/{each}")).attr.mode & 0o777 == 0o600


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_another_mount_stored_is_a_file_of_its_own(
    name: str, autojump_clock: MockClock
) -> None:
    async with linked() as (here, there, _):
        await there.save(f"workspace/{name}", b"theirs")
        await trio.sleep(LATER)
        for each in NAMES:
            assert await here.load(f"workspace/{each}") == (b"theirs" if each == name else b"first")
        others = [each for each in NAMES if each != name]
        await here.save(f"workspace/{others[1]}", b"second")
        await there.save(f"workspace/{name}", b"theirs again")
        await trio.sleep(LATER)
        assert await here.load(f"workspace/{others[0]}") == b"second"
        assert await here.load(f"workspace/{name}") == b"theirs again"
        assert sorted(await here.listdir("workspace")) == sorted(NAMES)
        assert {(await here.stat(f"workspace/{each}")).nlink for each in others} == {2}


@pytest.mark.parametrize("name", NAMES)
async def test_a_version_that_is_not_known_here_is_kept(name: str, autojump_clock: MockClock) -> None:
    """Both change the file at the same time, by different names or by the same one."""
    async with linked() as (here, there, store):
        fh = await here.open("workspace/one")
        await here.write(fh, 0, b"ours.")
        await there.save(f"workspace/{name}", b"theirs")
        await here.close(fh)
        await trio.sleep(LATER)
        names = await there.listdir("workspace")
        (kept,) = set(names) - set(NAMES)
        assert kept.startswith(f"{name}.conflict-")
        assert await stored(store, f"workspace/{kept}") == b"theirs"
        for each in NAMES:
            assert await stored(store, f"workspace/{each}") == b"ours."
        assert await inodes(here) == [0, 0, 0]


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_another_mount_removed_is_gone(name: str, autojump_clock: MockClock) -> None:
    async with linked() as (here, there, _):
        await there.unlink(f"workspace/{name}")
        await trio.sleep(LATER)
        assert await here.find(f"workspace/{name}") is None
        left = [each for each in NAMES if each != name]
        assert await here.listdir("workspace") == sorted(left)
        for each in left:
            assert (await here.stat(f"workspace/{each}")).nlink == 2
            assert await here.load(f"workspace/{each}") == b"first"


@pytest.mark.parametrize("name", NAMES)
async def test_attributes_that_another_mount_changed(name: str, autojump_clock: MockClock) -> None:
    """The etag is the same, but not what is stored."""
    async with linked() as (here, there, _):
        await there.change(f"workspace/{name}", mode=0o600)
        await trio.sleep(LATER)
        for each in NAMES:
            mode = (await here.walk(f"workspace/{each}")).attr.mode & 0o777
            assert mode == (0o600 if each == name else 0o644)


@every_store
@pytest.mark.parametrize("name", NAMES[1:])
async def test_attributes_are_not_put_on_another_mounts_version(
    name: str, can: Capabilities, autojump_clock: MockClock
) -> None:
    """Nor is it taken for this file's, and overwritten by the next commit."""
    async with linked(can) as (here, there, store):
        await there.save(f"workspace/{name}", b"THEIR")
        await here.change("workspace/one", mode=0o600)
        assert (await there.stat(f"workspace/{name}")).attr.mode & 0o777 == 0o644
        assert await here.load(f"workspace/{name}") == b"THEIR"
        await trio.sleep(LATER)
        assert await there.load("workspace/one") == b"first"
        await here.save("workspace/one", b"again")
        assert await stored(store, f"workspace/{name}") == b"THEIR"
        assert sorted(await there.listdir("workspace")) == sorted(NAMES)


async def test_a_first_name_that_has_another_file_leaves_the_others_one(autojump_clock: MockClock) -> None:
    """It is the attributes of the others that change, asked for by a name that the kernel knows."""
    async with linked() as (here, there, _):
        inode = await here.walk("workspace/two")
        await there.save("workspace/one", b"theirs")
        await here.fs.setattr(inode.ino, Changes(mode=0o600), None, ME)
        await trio.sleep(LATER)
        assert await inodes(here) == [0, 1, 1]
        assert [(await here.stat(f"workspace/{name}")).nlink for name in NAMES] == [1, 2, 2]
        for name in NAMES:
            mode = (await there.stat(f"workspace/{name}")).attr.mode & 0o777
            assert mode == (0o644 if name == "one" else 0o600)
        assert await here.load("workspace/one") == b"theirs"


@pytest.mark.parametrize("name", NAMES)
async def test_a_chmod_that_fails_at_one_name_changes_none(name: str, autojump_clock: MockClock) -> None:
    memory = MemoryStore(S3_LIKE)
    store = FaultStore(memory)
    async with mounted(store) as disk:
        await disk.save("workspace/one", b"first")
        for other in NAMES[1:]:
            await disk.link("workspace/one", f"workspace/{other}")
        store.fail_before("copy", keys=f"{name}$")
        with pytest.raises(StoreUnavailable):
            await disk.change("workspace/one", mode=0o600)
        for _ in range(2):
            await trio.sleep(LATER)
            assert await inodes(disk) == [0, 0, 0]
            assert (await disk.stat("workspace/one")).attr.mode & 0o777 == 0o644
    async with mounted(memory) as disk:
        for other in NAMES:
            assert (await disk.stat(f"workspace/{other}")).attr.mode & 0o777 == 0o644


async def test_a_name_that_is_removed_makes_nothing_newer_of_the_others(autojump_clock: MockClock) -> None:
    """What another mount stored there is seen when its time has come, not later (`workspace_ttl`, 300 s)."""
    async with linked() as (here, there, _):
        assert (await here.stat("workspace/two")).attr.size == 5
        await there.save("workspace/two", b"theirs, longer")
        await trio.sleep(295)
        for name in ("one", "three"):
            await here.unlink(f"workspace/{name}")
        await trio.sleep(10)
        assert (await here.stat("workspace/two")).attr.size == 14


async def test_an_open_by_a_name_that_the_kernel_knew_walks_again(autojump_clock: MockClock) -> None:
    """The kernel believes for a second that the name is this file's, and opens it without a lookup."""
    async with linked() as (here, there, _):
        inode = await here.walk("workspace/one")
        await there.save("workspace/one", b"theirs")
        await trio.sleep(LATER)
        with pytest.raises(Stale):
            await here.fs.open(inode.ino, os.O_RDONLY, ME)
        assert await here.load("workspace/one") == b"theirs"
        assert await here.load("workspace/two") == b"first"


async def test_a_version_that_is_replaced_while_it_is_kept(autojump_clock: MockClock) -> None:
    """A third writer, between the question what is there and the copy of it: it is the third's that is kept."""
    memory = MemoryStore(S3_LIKE)

    class Third(Layer):
        waits = False

        async def around(self, call: Call, thunk: Thunk[T]) -> T:
            if self.waits and call.name == "copy" and "conflict" in call.key:
                self.waits = False
                await memory.put(key("workspace/two"), [b"third"], ObjectMeta())
            return await thunk()

    store = Third(memory)
    async with mounted(store) as here, mounted(memory) as there:
        await here.save("workspace/one", b"first")
        await here.link("workspace/one", "workspace/two")
        fh = await here.open("workspace/one")
        await here.write(fh, 0, b"FIRST")
        await there.save("workspace/two", b"second")
        store.waits = True
        await here.close(fh)
        (kept,) = (name for name in memory.stored() if "conflict" in name)
        assert bytes((await memory.get(kept)).data) == b"third"
        for name in NAMES[:2]:
            assert await stored(memory, f"workspace/{name}") == b"FIRST"


@pytest.mark.parametrize("size", [5, 40])
async def test_names_that_move_and_go_leave_the_rest_one_file(size: int, autojump_clock: MockClock) -> None:
    """A copy of a large object has another version than what it was copied from."""
    store = MemoryStore(S3_LIKE)
    async with mounted(store, part_size=16) as disk:
        await disk.mkdir("workspace/d")
        await disk.mkdir("workspace/d/sub")
        await disk.save("workspace/d/one", b"x" * size)
        for name in ("workspace/d/sub/two", "workspace/three", "workspace/four"):
            await disk.link("workspace/d/one", name)
        await disk.rename("workspace/d/one", "workspace/d/1")
        await disk.rename("workspace/d", "workspace/e")
        await disk.save("workspace/other", b"other")
        await disk.rename("workspace/other", "workspace/three", flags=2)
        await disk.unlink("workspace/e/1")
        fh = await disk.open("workspace/four")
        await disk.write(fh, 1, b"y")
        await disk.close(fh)
        for name in ("e/sub/two", "other", "four"):
            await trio.sleep(LATER)
            text = b"x" + b"y" + b"x" * (size - 2)
            assert await disk.load(f"workspace/{name}") == text
            assert await stored(store, f"workspace/{name}") == text
            assert (await disk.stat(f"workspace/{name}")).nlink == 3
        assert await disk.load("workspace/three") == b"other"
        assert await disk.tree() == [
            f"workspace/{name}" for name in ("e", "e/sub", "e/sub/two", "four", "other", "three")
        ]
        disk.fs.check()


async def test_a_link_to_what_another_mount_has_replaced(autojump_clock: MockClock) -> None:
    """It is that version which gets the name, if RAM does not have the one that is known."""
    store = MemoryStore(S3_LIKE)
    async with mounted(store, revalidate=float("inf")) as here, mounted(store) as there:
        await here.save("workspace/f", b"ours")
        await there.save("workspace/f", b"theirs")
        here.fs.release_content(await here.walk("workspace/f"))
        await here.link("workspace/f", "workspace/g")
        assert await stored(store, "workspace/g") == b"theirs"
        assert await here.load("workspace/g") == await here.load("workspace/f") == b"theirs"
        await there.unlink("workspace/f")
        here.fs.release_content(await here.walk("workspace/f"))
        await here.link("workspace/f", "workspace/h")
        assert await stored(store, "workspace/h") == b"theirs"
        assert await here.find("workspace/f") is None
        for name in "gh":
            await there.unlink(f"workspace/{name}")
        here.fs.release_content(await here.walk("workspace/g"))
        with pytest.raises(Stale):
            await here.link("workspace/g", "workspace/i")


@every_store
@pytest.mark.parametrize("ram", [True, False], ids=["in RAM", "not in RAM"])
async def test_a_link_does_not_replace_what_another_mount_just_made(
    ram: bool, can: Capabilities, autojump_clock: MockClock
) -> None:
    store = MemoryStore(can)
    async with mounted(store) as here, mounted(store) as there:
        await here.save("workspace/f", b"ours")
        if not ram:
            here.fs.release_content(await here.walk("workspace/f"))
        assert await here.find("workspace/new") is None
        await there.save("workspace/new", b"theirs")
        with pytest.raises(Exists):
            await here.link("workspace/f", "workspace/new")
        assert await stored(store, "workspace/new") == b"theirs"
        assert (await here.stat("workspace/f")).nlink == 1
        assert await stored(store, "workspace/f") == b"ours"
        await trio.sleep(MOMENT)
        assert await here.load("workspace/new") == b"theirs"


async def test_a_link_of_what_is_in_ram_is_one_request() -> None:
    store = Metered(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"ours")
        assert await disk.find("workspace/new") is None
        before = {name: call.ended for name, call in store.statistics().calls.items()}
        await disk.link("workspace/f", "workspace/new")
        after = {name: call.ended for name, call in store.statistics().calls.items()}
        asked = {name: count - before.get(name, 0) for name, count in after.items()}
        assert {name: count for name, count in asked.items() if count} == {"put": 1}


async def test_a_link_of_a_new_file_that_could_not_be_stored_is_refused(autojump_clock: MockClock) -> None:
    """Whether the close that failed before has taken the file away by then or not."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        fh = await disk.create("workspace/f")
        await disk.write(fh, 0, b"new")
        inode, place = await disk.walk("workspace/f"), await disk.walk("workspace")
        store.slow("put", seconds=1.0)
        store.fail_before("put", count=None)

        async def close() -> None:
            with pytest.raises(StoreUnavailable):
                await disk.close(fh)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            await trio.sleep(0.1)
            with pytest.raises((NotFound, StoreUnavailable)):
                await disk.fs.link(inode.ino, place.ino, b"other")
        store.clear()
        assert await disk.tree() == []
        disk.fs.check()


async def test_each_commit_asks_once_for_each_other_name() -> None:
    store = Metered(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/one", b"first")
        for name in NAMES[1:]:
            await disk.link("workspace/one", f"workspace/{name}")
        before = {name: call.ended for name, call in store.statistics().calls.items()}
        fh = await disk.open("workspace/two")
        await disk.write(fh, 0, b"other")
        await disk.close(fh)
        after = {name: call.ended for name, call in store.statistics().calls.items()}
        asked = {name: count - before.get(name, 0) for name, count in after.items()}
        assert {name: count for name, count in asked.items() if count} == {"put": 1, "head": 2, "copy": 2}
