"""Round trips are the cost: what each operation asks of a store that can do what S3 can, to the request."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from trio.testing import wait_all_tasks_blocked

from tests.fakes import S3_LIKE, MemoryStore
from vfs.config import Config
from vfs.core.filesystem import Changes, FileSystem
from vfs.core.inodes import Inode
from vfs.meta.attrs import Defaults, decode
from vfs.store.base import ObjectMeta
from vfs.store.metered import Metered
from vfs.types import Caller, Ino, Key

PART = 64 << 10
ME = Caller(uid=0, gid=0, pid=1)
PATH = "users/u1/workspace/"


class Desk:
    """A file system over a counted store, used as programs use it."""

    def __init__(self, memory: MemoryStore) -> None:
        self.memory = memory
        self.store = Metered(memory)
        config = Config(mountpoint=Path("/nowhere"), user="u1", part_size=PART, ram_limit=64 * PART)
        self.fs = FileSystem(self.store, config)
        self._before: Counter[str] = Counter()

    @property
    def workspace(self) -> Ino:
        return self.fs.table.root.children["workspace"].ino

    def asked(self) -> dict[str, int]:
        """Requests since the last time of asking."""
        now = Counter({name: call.ended for name, call in self.store.statistics().calls.items()})
        since, self._before = now - self._before, now
        return dict(since)

    async def write(self, name: str, data: bytes, flags: int = os.O_WRONLY, at: int | None = None) -> Inode:
        """open (or create), write in pieces of 16 KiB, close."""
        inode = await self.fs.lookup(self.workspace, name.encode())
        if inode is None:
            handle, inode = await self.fs.create(self.workspace, name.encode(), 0o644, flags, ME)
        else:
            handle = await self.fs.open(inode.ino, flags, ME)
        offset = inode.attr.size if flags & os.O_APPEND else at or 0
        for start in range(0, len(data), 16 << 10):
            await self.fs.write(handle.fh, offset + start, data[start : start + (16 << 10)])
            await wait_all_tasks_blocked()  # so that parts go while the program writes
        await self.fs.flush(handle.fh)
        await self.fs.release(handle.fh)
        return inode

    async def stored(self, name: str) -> bytes:
        return bytes((await self.memory.get(Key(PATH + name))).data)


@asynccontextmanager
async def desk(memory: MemoryStore | None = None) -> AsyncIterator[Desk]:
    one = Desk(memory or MemoryStore(S3_LIKE))
    async with one.fs.running():
        one.asked()
        yield one
    one.fs.check()


async def test_creating_and_closing_a_small_file() -> None:
    async with desk() as d:
        handle, _ = await d.fs.create(d.workspace, b"f", 0o644, os.O_WRONLY, ME)
        d.asked()
        await d.fs.write(handle.fh, 0, b"x" * PART)
        await d.fs.flush(handle.fh)
        await d.fs.release(handle.fh)
        assert d.asked() == {"put": 1}
        assert await d.stored("f") == b"x" * PART


async def test_creating_a_large_file_in_order() -> None:
    async with desk() as d:
        inode = await d.write("f", os.urandom(8 * PART))
        asked = d.asked()
        asked.pop("head", None)
        asked.pop("list", None)
        assert asked == {"create_upload": 1, "upload_part": 8, "complete_upload": 1}
        stored = await d.memory.head(Key(PATH + "f"))
        assert decode(stored, Defaults(0, 0, 0o022)).mtime_ns == inode.attr.mtime_ns


@pytest.mark.parametrize("later", [1, 3600])
async def test_the_time_of_a_large_file_that_was_set_or_that_took_long_costs_a_copy(later: int) -> None:
    """The metadata of an upload is set when it begins."""
    async with desk() as d:
        handle, inode = await d.fs.create(d.workspace, b"f", 0o644, os.O_WRONLY, ME)
        for start in range(0, 8 * PART, PART):
            await d.fs.write(handle.fh, start, bytes(PART))
            await wait_all_tasks_blocked()
        when = inode.attr.mtime_ns + later * 1_000_000_000
        await d.fs.setattr(inode.ino, Changes(mtime_ns=when), handle.fh, ME)
        await d.fs.flush(handle.fh)
        await d.fs.release(handle.fh)
        assert d.asked()["copy"] == 1
        assert decode(await d.memory.head(Key(PATH + "f")), Defaults(0, 0, 0o022)).mtime_ns == when


async def test_rewriting_a_small_file() -> None:
    async with desk() as d:
        await d.write("f", b"old")
        d.asked()
        await d.write("f", b"new", os.O_WRONLY | os.O_TRUNC)
        assert d.asked() == {"put": 1}
        assert await d.stored("f") == b"new"


async def test_appending_to_a_small_file_just_written_here() -> None:
    async with desk() as d:
        await d.write("f", b"a" * 1000)
        d.asked()
        await d.write("f", b"b" * 200, os.O_WRONLY | os.O_APPEND)
        assert d.asked() == {"put": 1}
        assert await d.stored("f") == b"a" * 1000 + b"b" * 200


@pytest.mark.parametrize(
    ("offset", "most", "parts"), [(128 * PART, 6, 1), (77 * PART + 100, 7, 2), (50 * PART - 100, 7, 2)]
)
async def test_changing_a_large_object(offset: int, most: int, parts: int) -> None:
    content = os.urandom(128 * PART)
    memory = MemoryStore(S3_LIKE)
    await memory.put(Key(PATH + "f"), [content], ObjectMeta({"mode": "33188"}))
    async with desk(memory) as d:
        assert await d.fs.lookup(d.workspace, b"f")
        d.asked()
        await d.write("f", b"n" * 200, at=offset)
        asked = d.asked()
        assert sum(asked.values()) <= most
        assert asked.get("upload_part", 0) + asked.get("get", 0) <= parts
        assert await d.stored("f") == content[:offset] + b"n" * 200 + content[offset + 200 :]


async def test_parts_of_one_size_where_the_store_wants_that() -> None:
    """Clean ranges are copied part by part then, not as one."""
    content = os.urandom(10 * PART + 7)
    memory = MemoryStore(replace(S3_LIKE, equal_parts=True))
    await memory.put(Key(PATH + "f"), [content], ObjectMeta({"mode": "33188"}))
    async with desk(memory) as d:
        assert await d.fs.lookup(d.workspace, b"f")
        d.asked()
        await d.write("f", b"n" * 200, at=5 * PART)
        assert d.asked() == {
            "create_upload": 1,
            "copy_part": 10,
            "get": 1,
            "upload_part": 1,
            "complete_upload": 1,
        }
        assert await d.stored("f") == content[: 5 * PART] + b"n" * 200 + content[5 * PART + 200 :]


async def test_write_temp_sync_rename_over() -> None:
    async with desk() as d:
        await d.write("f", b"old")
        await d.fs.lookup(d.workspace, b"f.tmp")
        d.asked()
        handle, _ = await d.fs.create(d.workspace, b"f.tmp", 0o644, os.O_WRONLY, ME)
        await d.fs.write(handle.fh, 0, b"new")
        await d.fs.fsync(handle.fh)
        await d.fs.flush(handle.fh)
        await d.fs.release(handle.fh)
        await d.fs.rename(d.workspace, b"f.tmp", d.workspace, b"f")
        assert d.asked() == {"put": 1, "copy": 1, "delete": 1}
        assert await d.stored("f") == b"new"


@pytest.mark.parametrize(
    "changes", [Changes(mode=0o100600), Changes(uid=5, gid=6), Changes(mtime_ns=1, atime_ns=2)]
)
async def test_changing_attributes(changes: Changes) -> None:
    async with desk() as d:
        inode = await d.write("f", b"content")
        d.asked()
        await d.fs.setattr(inode.ino, changes, None, ME)
        assert d.asked() == {"copy": 1}
        handle = await d.fs.open(inode.ino, os.O_WRONLY, ME)
        await d.fs.write(handle.fh, 0, b"changed")
        await d.fs.setattr(inode.ino, changes, handle.fh, ME)
        assert d.asked() == {}
        await d.fs.flush(handle.fh)
        await d.fs.release(handle.fh)
        assert d.asked() == {"put": 1}


async def test_removing_and_making() -> None:
    async with desk() as d:
        await d.write("f", b"content")
        await d.fs.lookup(d.workspace, b"d")
        d.asked()
        await d.fs.unlink(d.workspace, b"f")
        assert d.asked() == {"delete": 1}
        await d.fs.mkdir(d.workspace, b"d", 0o755, ME)
        assert d.asked() == {"put": 1}
        assert await d.fs.lookup(d.workspace, b"f") is None
        assert d.asked() == {}


@pytest.mark.parametrize("files", [3, 1001])
async def test_renaming_a_directory(files: int) -> None:
    memory = MemoryStore(S3_LIKE)
    for i in range(files):
        await memory.put(Key(f"{PATH}longer/{i}"), [b"%d" % i], ObjectMeta())
    async with desk(memory) as d:
        await d.fs.lookup(d.workspace, b"longer")
        await d.fs.lookup(d.workspace, b"short")
        d.asked()
        await d.fs.rename(d.workspace, b"longer", d.workspace, b"short")
        asked = d.asked()
        assert asked.pop("list") == -(-files // 1000)
        note = {"put": 1}  # and removed when nobody waits any more
        assert asked == {"copy": files, "delete_many": -(-files // 1000), **note}
        assert await d.stored("short/2") == b"2"


async def test_reading_what_is_known() -> None:
    content = os.urandom(100 * PART)
    memory = MemoryStore(S3_LIKE)
    await memory.put(Key(PATH + "f"), [content], ObjectMeta())
    async with desk(memory) as d:
        inode = await d.fs.lookup(d.workspace, b"f")
        assert inode is not None
        d.asked()
        handle = await d.fs.open(inode.ino, os.O_RDONLY, ME)
        assert await d.fs.read(handle.fh, 50 * PART, 4096) == content[50 * PART : 50 * PART + 4096]
        assert d.asked() == {"get": 1}
        await d.fs.release(handle.fh)


async def test_what_this_mount_wrote_is_not_asked_for() -> None:
    async with desk() as d:
        inode = await d.write("f", b"content")
        d.fs.forget([(inode.ino, inode.lookups)])
        d.asked()
        again = await d.fs.lookup(d.workspace, b"f")
        assert again is not None
        assert stat.S_ISREG(again.attr.mode)
        assert d.asked() == {}
