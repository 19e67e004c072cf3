"""Directory times that are stored late, over what another mount set there meanwhile, of which nothing was heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.unit.disk import ME, Disk, key, mounted
from vfs.core import late
from vfs.core.filesystem import Changes
from vfs.core.inodes import Inode
from vfs.errors import ObjectNotFound
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.store.local import LocalStore

DIRECTORY = "workspace/d"
KNOWN = 200
"""Seconds: more than `--revalidate`, less than what is known lives."""


async def elsewhere(store: ObjectStore, mode: int) -> None:
    """A mount comes, changes the directory's mode, says what it is for, and goes."""
    async with mounted(store) as one:
        await one.change(DIRECTORY, mode=mode)
        await one.fs.setxattr((await one.walk(DIRECTORY)).ino, b"user.note", b"%o" % mode)


@asynccontextmanager
async def late_here(store: ObjectStore, **changes: float) -> AsyncIterator[tuple[Disk, Inode]]:
    """A mount that made an entry in a directory, which knows nothing of how another one changes it then."""
    async with mounted(store, **changes) as disk:
        await disk.mkdir(DIRECTORY)
        inode = await disk.walk(DIRECTORY)
        await disk.save(f"{DIRECTORY}/f", b"")
        await elsewhere(store, 0o700)
        assert inode.late
        yield disk, inode


async def expect(store: ObjectStore, mode: int, mtime_ns: int, path: str = DIRECTORY) -> None:
    """As a mount finds it that begins now."""
    async with mounted(store) as disk:
        attr = (await disk.stat(path)).attr
        assert (attr.mode & 0o777, attr.xattrs["user.note"]) == (mode, b"%o" % mode)
        assert attr.mtime_ns == mtime_ns


async def test_at_the_end_of_the_mount(autojump_clock: MockClock) -> None:
    store = MemoryStore(S3_LIKE)
    async with late_here(store) as (_, inode):
        await trio.sleep(KNOWN)
    await expect(store, 0o700, inode.attr.mtime_ns)


async def test_at_an_fsync_which_shows_it_too(autojump_clock: MockClock) -> None:
    store = MemoryStore(S3_LIKE)
    async with late_here(store) as (disk, inode):
        told: list[int] = []
        disk.fs.outdated = told.append
        fh = await disk.fs.opendir(inode.ino)
        await trio.sleep(KNOWN)
        await disk.fs.fsyncdir(fh)
        assert (inode.attr.mode & 0o777, inode.attrs_dirty, told) == (0o700, False, [inode.ino])
        await disk.fs.releasedir(fh)
        await expect(store, 0o700, inode.attr.mtime_ns)


async def test_when_it_is_renamed(autojump_clock: MockClock) -> None:
    store = MemoryStore(S3_LIKE)
    async with late_here(store) as (disk, inode):
        await trio.sleep(KNOWN)
        await disk.rename(DIRECTORY, "workspace/e")
        await expect(store, 0o700, inode.attr.mtime_ns, "workspace/e")


async def test_when_too_many_wait(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    monkeypatch.setattr(late, "LATE_DIRECTORIES", 1)
    store = MemoryStore(S3_LIKE)
    async with late_here(store) as (disk, inode):
        await trio.sleep(KNOWN)
        await disk.mkdir("workspace/e")
        await disk.save("workspace/e/f", b"")
        await trio.sleep(1)
        assert not inode.attrs_dirty
        await expect(store, 0o700, inode.attr.mtime_ns)


async def test_a_directory_whose_own_object_another_mount_made(autojump_clock: MockClock) -> None:
    store = MemoryStore(S3_LIKE)
    await store.put(key(f"{DIRECTORY}/other"), [b"of another program"], ObjectMeta())
    async with mounted(store) as disk:
        inode = await disk.walk(DIRECTORY)
        await disk.save(f"{DIRECTORY}/f", b"")
        assert (inode.late, inode.marker) == (True, False)
        await elsewhere(store, 0o700)
        await trio.sleep(KNOWN)
    await expect(store, 0o700, inode.attr.mtime_ns)


async def test_a_store_whose_etags_tell_is_not_asked_before(tmp_path: Path) -> None:
    """Not even by a mount that believes all it knows until that expires."""
    store = LocalStore(tmp_path / "store", fsync=False)
    async with late_here(store, revalidate=float("inf")) as (_, inode):
        pass
    await expect(store, 0o700, inode.attr.mtime_ns)


async def test_a_removal_is_known_where_the_store_has_no_preconditions(autojump_clock: MockClock) -> None:
    store = MemoryStore(replace(S3_LIKE, conditional_put=False))
    async with late_here(store) as (disk, _):
        await disk.unlink(f"{DIRECTORY}/f")
        async with mounted(store) as one:
            await one.rmdir(DIRECTORY)
        await trio.sleep(KNOWN)
    with pytest.raises(ObjectNotFound):
        await store.head(key(f"{DIRECTORY}/"))


@pytest.mark.parametrize(("seconds", "heads"), [(0, 0), (KNOWN, 1)])
async def test_one_question_unless_it_was_asked_a_moment_ago(
    seconds: float, heads: int, autojump_clock: MockClock
) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.mkdir(DIRECTORY)
        await disk.save(f"{DIRECTORY}/f", b"")
        await trio.sleep(seconds)
        store.log.clear()
    for path in (DIRECTORY, "workspace"):
        assert [call.name for call in store.log if call.key == key(f"{path}/")] == ["head"] * heads + ["put"]


@pytest.mark.parametrize("call", ["head", "put"])
async def test_what_could_not_be_stored_keeps_what_is_set_afterwards(
    call: str, autojump_clock: MockClock
) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with late_here(store) as (disk, inode):
        await trio.sleep(KNOWN)
        store.fail_before(call, keys=f"{DIRECTORY}/$")
        await disk.fs.late.store_all()
        assert (inode.attrs_dirty, inode.late, inode.busy) == (True, True, False)
        await elsewhere(store, 0o750)
        await trio.sleep(KNOWN)
    await expect(store, 0o750, inode.attr.mtime_ns)


async def test_a_chmod_here_while_it_is_asked(autojump_clock: MockClock) -> None:
    """It is not taken back by an answer that is older."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with late_here(store) as (disk, inode):
        await trio.sleep(KNOWN)
        store.slow("head", keys=f"{DIRECTORY}/$", seconds=2, count=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.fs.late.store_all)
            await trio.sleep(1)
            nursery.start_soon(disk.fs.setattr, inode.ino, Changes(mode=0o711), None, ME)
        assert (inode.attr.mode & 0o777, inode.attr.xattrs["user.note"]) == (0o711, b"700")
    async with mounted(store) as third:
        attr = (await third.stat(DIRECTORY)).attr
        assert (attr.mode & 0o777, attr.xattrs["user.note"]) == (0o711, b"700")
