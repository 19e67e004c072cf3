"""A file with several names: each is an object of its own, which other mounts may replace, change and remove."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import Disk, mounted, stored
from vfs.errors import Stale
from vfs.store.metered import Metered

LATER = 1.5
"""Seconds after which an open asks again (`--revalidate`)."""

NAMES = ("one", "two", "three")


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Disk, Disk, MemoryStore]]:
    """A mount on which a file has three names, and another mount, for which they are three files."""
    store = MemoryStore(S3_LIKE)
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


@pytest.mark.parametrize("name", NAMES[1:])
async def test_attributes_are_not_put_on_another_mounts_version(name: str, autojump_clock: MockClock) -> None:
    async with linked() as (here, there, _):
        await there.save(f"workspace/{name}", b"theirs")
        await here.change("workspace/one", mode=0o600)
        assert (await there.stat(f"workspace/{name}")).attr.mode & 0o777 == 0o644
        assert await here.load(f"workspace/{name}") == b"theirs"
        await trio.sleep(LATER)
        assert await there.load("workspace/one") == b"first"


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
