"""A file system without a kernel: what programs and the kernel do, as calls on FileSystem.

`Disk` walks paths by `lookup`, counts what it looked up as the kernel does, and gives it all back at the end. Then
nothing may be left: no inode, no handle, no byte of the budget.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes import FaultStore, MemoryStore
from vfs.config import Config
from vfs.core.filesystem import ROOT, Changes, FileSystem
from vfs.core.inodes import Inode
from vfs.errors import NotFound
from vfs.meta.shared import SharedCache
from vfs.store.base import ObjectStore
from vfs.types import Caller, Fh, Ino, Key

ME = Caller(1000, 1000, 77, 0o022)
PREFIX = "users/u1/"


def config(**changes: Any) -> Config:
    values: dict[str, Any] = {"mountpoint": Path("/mnt/agent"), "user": "u1", "uid": 1000, "gid": 1000}
    return Config(**{**values, **changes})


class Disk:
    """One mount and the kernel's side of it. Paths are `workspace/a/b`."""

    def __init__(self, fs: FileSystem) -> None:
        self.fs = fs
        self.known: Counter[Ino] = Counter()
        self.open_files: set[Fh] = set()

    def _seen(self, inode: Inode) -> Inode:
        self.known[inode.ino] += 1
        return inode

    async def find(self, path: str) -> Inode | None:
        """The inode at a path, or None."""
        inode = self.fs.table.get(ROOT)
        for name in path.split("/") if path else ():
            found = await self.fs.lookup(inode.ino, name.encode())
            if found is None:
                return None
            inode = self._seen(found)
        return inode

    async def walk(self, path: str) -> Inode:
        """The inode at a path. Raises NotFound."""
        inode = await self.find(path)
        if inode is None:
            raise NotFound(path)
        return inode

    async def _place(self, path: str) -> tuple[Ino, bytes]:
        parent, _, name = path.rpartition("/")
        return (await self.walk(parent)).ino, name.encode()

    async def stat(self, path: str) -> Inode:
        return await self.fs.getattr((await self.walk(path)).ino)

    async def create(self, path: str, flags: int = os.O_RDWR | os.O_CREAT) -> Fh:
        """open(2) with O_CREAT. As the kernel does, an existing file is looked up and opened."""
        found = await self.find(path)
        if found is not None and not flags & os.O_EXCL:
            return await self.open(path, flags)
        handle, inode = await self.fs.create(*await self._place(path), 0o644, flags, ME)
        self._seen(inode)
        self.open_files.add(handle.fh)
        return handle.fh

    async def open(self, path: str, flags: int = os.O_RDWR) -> Fh:
        handle = await self.fs.open((await self.walk(path)).ino, flags, ME)
        self.open_files.add(handle.fh)
        return handle.fh

    async def write(self, fh: Fh, offset: int, data: bytes) -> None:
        assert await self.fs.write(fh, offset, data) == len(data)

    async def read(self, fh: Fh, offset: int = 0, size: int = 1 << 30) -> bytes:
        return await self.fs.read(fh, offset, size)

    async def close(self, fh: Fh) -> None:
        """close(2): flush, whose error the program gets, then release."""
        try:
            await self.fs.flush(fh)
        finally:
            self.open_files.discard(fh)
            await self.fs.release(fh)

    async def save(self, path: str, data: bytes, chunk: int = 1 << 20) -> None:
        """What `cp` does: create or truncate, write in order, close."""
        fh = await self.create(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            for at in range(0, len(data), chunk):
                await self.write(fh, at, data[at : at + chunk])
        finally:
            await self.close(fh)

    async def load(self, path: str) -> bytes:
        fh = await self.open(path, os.O_RDONLY)
        try:
            return await self.read(fh)
        finally:
            await self.close(fh)

    async def truncate(self, path: str, size: int) -> None:
        await self.change(path, size=size)

    async def change(self, path: str, fh: Fh | None = None, **fields: int) -> Inode:
        return await self.fs.setattr((await self.walk(path)).ino, Changes(**fields), fh, ME)

    async def mkdir(self, path: str) -> Inode:
        return self._seen(await self.fs.mkdir(*await self._place(path), 0o755, ME))

    async def unlink(self, path: str) -> None:
        await self.fs.unlink(*await self._place(path))

    async def rmdir(self, path: str) -> None:
        await self.fs.rmdir(*await self._place(path))

    async def rename(self, old: str, new: str, flags: int = 0) -> None:
        """rename(2); the kernel has looked both names up before it asks."""
        await self.walk(old)
        await self.find(new)
        await self.fs.rename(*await self._place(old), *await self._place(new), flags)

    async def link(self, old: str, new: str) -> Inode:
        return self._seen(await self.fs.link((await self.walk(old)).ino, *await self._place(new)))

    async def listdir(self, path: str) -> list[str]:
        fh = await self.fs.opendir((await self.walk(path)).ino)
        try:
            return [name.decode() async for name, _, _ in self.fs.entries(fh, 2)]
        finally:
            await self.fs.releasedir(fh)

    async def tree(self, path: str = "workspace") -> list[str]:
        """Every path below, as `find` shows it."""
        out: list[str] = []
        for name in await self.listdir(path):
            out.append(f"{path}/{name}")
            if (await self.stat(out[-1])).attr.is_dir:
                out += await self.tree(out[-1])
        return sorted(out)

    def forget_all(self) -> None:
        """The kernel drops its caches."""
        self.fs.forget(list(self.known.items()))
        self.known.clear()

    def check_idle(self) -> None:
        """Nothing is open: so nothing may be held but clean data, and no inode but the roots."""
        assert not self.open_files
        self.fs.check()
        self.forget_all()
        self.fs.check()
        budget = self.fs.budget.statistics()
        assert budget.used == budget.clean == 0, budget
        left = [inode for inode in self.fs.table if inode.names and inode.names[0][0].ino != ROOT]
        assert [node for node in left if not node.attr.is_dir] == []
        assert all(node.attrs_dirty for node in left), left


@asynccontextmanager
async def mounted(
    store: ObjectStore | None = None, shared: SharedCache | None = None, **changes: Any
) -> AsyncIterator[Disk]:
    """A running file system; everything is durable on leaving."""
    fs = FileSystem(store or MemoryStore(), config(**changes), shared)
    async with fs.running():
        yield Disk(fs)


def key(path: str) -> Key:
    return Key(PREFIX + path)


async def stored(store: ObjectStore, path: str) -> bytes:
    """The object's bytes, asked of the store itself."""
    while isinstance(store, FaultStore):
        store = store.inner
    return bytes((await store.get(key(path))).data)
