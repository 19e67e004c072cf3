"""A directory whose times alone are newer here than in the store: in all else, others change it as any directory."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.memory_shared import MemoryServer, MemoryShared
from tests.unit.disk import key, mounted
from vfs.core import late
from vfs.errors import ObjectNotFound, StoreUnavailable
from vfs.meta.sharing import FILL_PAUSE

DIRECTORY = "workspace/d"


async def told() -> None:
    await trio.sleep(3 * FILL_PAUSE)
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("together", [True, False], ids=["told by the feed", "asked for again"])
async def test_a_change_of_mode_is_seen_and_stays(together: bool, autojump_clock: MockClock) -> None:
    store, server = MemoryStore(S3_LIKE), MemoryServer()
    caches = [MemoryShared(server, time.time()) if together else None for _ in range(2)]
    async with (
        mounted(store, caches[0], workspace_ttl=30) as one,
        mounted(store, caches[1], workspace_ttl=30) as other,
    ):
        await one.mkdir(DIRECTORY)
        await told()
        await other.save(f"{DIRECTORY}/f", b"")
        written = (await other.stat(DIRECTORY)).attr.mtime_ns
        await one.change(DIRECTORY, mode=0o700)
        await trio.sleep(FILL_PAUSE * 3 if together else 31)
        attr = (await other.stat(DIRECTORY)).attr
        assert (attr.mode & 0o777, attr.mtime_ns) == (0o700, written)
    async with mounted(store) as third:
        attr = (await third.stat(DIRECTORY)).attr
        assert (attr.mode & 0o777, attr.mtime_ns) == (0o700, written), (
            "its times were stored, and no old mode"
        )


@pytest.mark.parametrize("together", [True, False], ids=["told by the feed", "asked for again"])
async def test_a_removal_is_seen_and_stays(together: bool, autojump_clock: MockClock) -> None:
    store, server = MemoryStore(S3_LIKE), MemoryServer()
    caches = [MemoryShared(server, time.time()) if together else None for _ in range(2)]
    async with mounted(store, caches[0], workspace_ttl=30) as one:
        async with mounted(store, caches[1], workspace_ttl=30) as other:
            await one.mkdir(DIRECTORY)
            await told()
            await other.save(f"{DIRECTORY}/f", b"")
            await other.unlink(f"{DIRECTORY}/f")
            await trio.sleep(FILL_PAUSE * 3 if together else 31)
            await one.rmdir(DIRECTORY)
            await trio.sleep(FILL_PAUSE * 3 if together else 31)
            assert await other.find(DIRECTORY) is None
            assert await other.listdir("workspace") == []
        with pytest.raises(ObjectNotFound):
            await store.head(key(f"{DIRECTORY}/"))


@pytest.mark.parametrize("running", [True, False], ids=["stored now and then", "stored at the end"])
async def test_times_do_not_bring_back_a_directory_that_was_removed(
    running: bool, autojump_clock: MockClock
) -> None:
    """By a mount of which nothing was heard."""
    store = MemoryStore(S3_LIKE)
    async with mounted(store, workspace_ttl=30) as other:
        async with mounted(store, workspace_ttl=30) as one:
            await one.mkdir(DIRECTORY)
            await one.save(f"{DIRECTORY}/f", b"")
            await one.unlink(f"{DIRECTORY}/f")
            await other.rmdir(DIRECTORY)
            if running:
                await one.fs.late.store_all()
                await trio.sleep(31)
                assert await one.find(DIRECTORY) is None
                assert await one.listdir("workspace") == []
        assert key(f"{DIRECTORY}/") not in store.stored()
        await other.mkdir(DIRECTORY)


async def test_what_could_not_be_stored_waits_for_the_next_time(autojump_clock: MockClock) -> None:
    """And is meanwhile as before: in all but its times, what others make of it."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store, workspace_ttl=30) as one, mounted(store, workspace_ttl=30) as other:
        await one.mkdir(DIRECTORY)
        await trio.sleep(31)
        await other.save(f"{DIRECTORY}/f", b"")
        written = (await other.stat(DIRECTORY)).attr.mtime_ns
        for _ in range(2):
            store.fail_before("put", keys=f"{DIRECTORY}/$")
            await other.fs.late.store_all()
        inode = await other.walk(DIRECTORY)
        assert (inode.attrs_dirty, inode.late, inode.busy) == (True, True, False)
        await one.change(DIRECTORY, mode=0o700)
        await trio.sleep(31)
        assert (await other.stat(DIRECTORY)).attr.mode & 0o777 == 0o700
        await other.fs.late.store_all()
        assert not inode.attrs_dirty
    async with mounted(store) as third:
        attr = (await third.stat(DIRECTORY)).attr
        assert (attr.mode & 0o777, attr.mtime_ns) == (0o700, written)


async def test_many_that_cannot_be_stored_are_stored_when_the_store_is_back(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(late, "LATE_DIRECTORIES", 3)
    store = FaultStore(MemoryStore(S3_LIKE))
    times: dict[str, int] = {}
    async with mounted(store) as disk:
        names = [f"workspace/{number}" for number in range(8)]
        for name in names:
            await disk.mkdir(name)
        for name in names:
            store.fail_before("put", keys=f"{name}/$", count=None)
            await disk.save(f"{name}/f", b"")
            await wait_all_tasks_blocked()
            times[name] = (await disk.stat(name)).attr.mtime_ns
        inodes = [await disk.walk(name) for name in names]
        assert all(inode.attrs_dirty and inode.late for inode in inodes)
        store.clear()
    async with mounted(store) as disk:
        assert {name: (await disk.stat(name)).attr.mtime_ns for name in names} == times


async def test_a_mode_that_could_not_be_stored_either_stays_this_mounts_own(
    autojump_clock: MockClock,
) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.mkdir(DIRECTORY)
        inode = await disk.walk(DIRECTORY)
        await disk.save(f"{DIRECTORY}/f", b"")
        before, inode.attr = inode.attr, replace(inode.attr, mode=0o40700)
        disk.fs.late.discard(inode)
        disk.fs.late.put_back(inode, before, True)
        assert inode.busy
    assert (await store.head(key(f"{DIRECTORY}/"))).meta is not None
    async with mounted(store) as disk:
        assert (await disk.stat(DIRECTORY)).attr.mode == 0o40700


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_chmod_that_fails_leaves_late_times_for_the_next_try(
    late: bool, cancelled: bool, autojump_clock: MockClock
) -> None:
    """And nothing to be stored where nothing was."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.mkdir(DIRECTORY)
        if late:
            await disk.save(f"{DIRECTORY}/f", b"")
        inode = await disk.walk(DIRECTORY)
        before = inode.attr
        if cancelled:
            store.slow("put", keys=f"{DIRECTORY}/$", seconds=9, count=1)
            with trio.move_on_after(1):
                await disk.change(DIRECTORY, mode=0o700)
        else:
            store.fail_before("put", keys=f"{DIRECTORY}/$")
            with pytest.raises(StoreUnavailable):
                await disk.change(DIRECTORY, mode=0o700)
        assert (inode.attr, inode.attrs_dirty, inode.late, inode.busy) == (before, late, late, False)
    async with mounted(store) as disk:
        attr = (await disk.stat(DIRECTORY)).attr
        assert (attr.mode, attr.mtime_ns) == (before.mode, before.mtime_ns)


async def test_an_fsync_of_a_directory_that_fails_is_done_by_the_next(autojump_clock: MockClock) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.mkdir(DIRECTORY)
        await disk.save(f"{DIRECTORY}/f", b"")
        inode = await disk.walk(DIRECTORY)
        fh = await disk.fs.opendir(inode.ino)
        store.fail_before("put", keys=f"{DIRECTORY}/$")
        with pytest.raises(StoreUnavailable):
            await disk.fs.fsyncdir(fh)
        assert inode.late
        await disk.fs.fsyncdir(fh)
        assert not inode.attrs_dirty
        await disk.fs.releasedir(fh)


async def test_a_rename_of_a_directory_that_fails_leaves_its_times_for_the_next_try(
    autojump_clock: MockClock,
) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.mkdir(DIRECTORY)
        await disk.save(f"{DIRECTORY}/f", b"")
        store.fail_before("put", keys=f"{DIRECTORY}/$")
        with pytest.raises(StoreUnavailable):
            await disk.rename(DIRECTORY, "workspace/e")
        inode = await disk.stat(DIRECTORY)
        written = inode.attr.mtime_ns
        assert (inode.late, inode.busy) == (True, False)
    async with mounted(store) as disk:
        assert (await disk.stat(DIRECTORY)).attr.mtime_ns == written
