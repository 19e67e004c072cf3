"""Unpacks the kernel's requests, calls the file system, packs its answers. Takes no decisions."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import aclosing

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, RequestContext, SetattrFields, StatvfsData

from vfs.core.filesystem import Changes, FileSystem
from vfs.core.handles import FileHandle
from vfs.core.inodes import Inode
from vfs.core.lifetime import Place, seconds_left
from vfs.fuse.fence import Fence, op, silent
from vfs.layout import NAME_MAX
from vfs.types import BLOCK, PREFERRED_IO, Attr, Caller, Fh, Ino

STATFS_BLOCK = 4096
"""f_frsize, bytes."""

ENDLESS_FILES = 1 << 32
"""f_files: object storage does not count them."""


class Adapter(pyfuse3.Operations):
    """pyfuse3's handlers over a FileSystem."""

    supports_dot_lookup = True
    enable_writeback_cache = False

    def __init__(self, fs: FileSystem) -> None:
        super().__init__()
        self.fs = fs
        self.fence = Fence()

    # -- packing ---------------------------------------------------------------------------------------------

    def _entry(self, inode: Inode, place: Place | None = None) -> EntryAttributes:
        """`place` is the name that was asked for: where an inode has several, each is known by itself."""
        return pack(inode.ino, inode.attr, inode.nlink, seconds_left(self.fs, inode, place))

    def _unknown(self) -> EntryAttributes:
        """A name of which nothing more is known. The kernel shows it with d_type DT_UNKNOWN (readdir(3)).

        It takes a mode without a type for no attributes at all, and forgets the number at once (fs/fuse/readdir.c).
        """
        entry = EntryAttributes()
        entry.st_ino = self.fs.table.spare_number()
        entry.st_mode = 0
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    def _info(self, handle: FileHandle) -> FileInfo:
        keep, handle.inode.stale_pages = not handle.inode.stale_pages, False
        return FileInfo(fh=handle.fh, keep_cache=keep)

    # -- names -----------------------------------------------------------------------------------------------

    @op
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        inode = await self.fs.lookup(Ino(parent_inode), name)
        if inode is not None:
            return self._entry(inode, (Ino(parent_inode), name))
        absent = EntryAttributes()
        absent.st_ino = 0  # the kernel remembers the absence for entry_timeout
        absent.entry_timeout = min(self.fs.config.negative_ttl, self.fs.cache.max_age)
        return absent

    @silent
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        self.fs.forget([(Ino(ino), count) for ino, count in inode_list])

    @op
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._entry(await self.fs.getattr(Ino(inode)))

    @op
    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        changes = Changes(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        handle = None if fh is None else Fh(fh)
        return self._entry(await self.fs.setattr(Ino(inode), changes, handle, caller(ctx)))

    @op
    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return await self.fs.readlink(Ino(inode))

    @op
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._entry(await self.fs.mknod(Ino(parent_inode), name, mode, rdev, caller(ctx)))

    @op
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        return self._entry(await self.fs.mkdir(Ino(parent_inode), name, mode, caller(ctx)))

    @op
    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self.fs.unlink(Ino(parent_inode), name)

    @op
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self.fs.rmdir(Ino(parent_inode), name)

    @op
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        return self._entry(await self.fs.symlink(Ino(parent_inode), name, target, caller(ctx)))

    @op
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        await self.fs.rename(Ino(parent_inode_old), name_old, Ino(parent_inode_new), name_new, flags)

    @op
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        return self._entry(await self.fs.link(Ino(inode), Ino(new_parent_inode), new_name))

    # -- files -----------------------------------------------------------------------------------------------

    @op
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return self._info(await self.fs.open(Ino(inode), flags, caller(ctx)))

    @op
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        handle, inode = await self.fs.create(Ino(parent_inode), name, mode, flags, caller(ctx))
        return self._info(handle), self._entry(inode)

    @op
    async def read(self, fh: int, off: int, size: int) -> bytes:
        return await self.fs.read(Fh(fh), off, size)

    @op
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return await self.fs.write(Fh(fh), off, buf)

    @op
    async def flush(self, fh: int) -> None:
        await self.fs.flush(Fh(fh))

    @op
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self.fs.fsync(Fh(fh))

    @op
    async def release(self, fh: int) -> None:
        await self.fs.release(Fh(fh))

    # -- directories -----------------------------------------------------------------------------------------

    @op
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return await self.fs.opendir(Ino(inode))

    @op
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        directory = self.fs.handles.directory(Fh(fh)).inode.ino
        async with aclosing(self.fs.entries(Fh(fh), start_id)) as entries:
            async for name, inode, following in entries:
                entry = self._unknown() if inode is None else self._entry(inode, (directory, name))
                if not pyfuse3.readdir_reply(token, name, entry, following):
                    return
                if inode is not None and name not in (b".", b".."):
                    self.fs.table.remember(inode)

    @op
    async def releasedir(self, fh: int) -> None:
        await self.fs.releasedir(Fh(fh))

    @op
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self.fs.fsyncdir(Fh(fh))

    # -- the rest --------------------------------------------------------------------------------------------

    @op
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        usage = await self.fs.usage()
        data = StatvfsData()
        data.f_bsize = PREFERRED_IO
        data.f_frsize = STATFS_BLOCK
        data.f_blocks = usage.total // STATFS_BLOCK
        data.f_bfree = data.f_bavail = usage.free // STATFS_BLOCK
        data.f_files = data.f_ffree = data.f_favail = ENDLESS_FILES
        data.f_namemax = NAME_MAX
        return data

    @op
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        await self.fs.setxattr(Ino(inode), name, value)

    @op
    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        return await self.fs.getxattr(Ino(inode), name)

    @op
    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        return await self.fs.listxattr(Ino(inode))

    @op
    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        await self.fs.removexattr(Ino(inode), name)


def caller(ctx: RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, ctx.pid, ctx.umask)


def pack(ino: Ino, attr: Attr, nlink: int, ttl: float) -> EntryAttributes:
    """What stat(2) shows. `ttl` seconds is how long the kernel may believe it."""
    entry = EntryAttributes()
    entry.st_ino = ino
    entry.generation = 0
    entry.entry_timeout = entry.attr_timeout = ttl
    entry.st_mode = attr.mode
    entry.st_nlink = nlink
    entry.st_uid = attr.uid
    entry.st_gid = attr.gid
    entry.st_rdev = attr.rdev
    entry.st_size = 0 if stat.S_ISDIR(attr.mode) else attr.size
    entry.st_blksize = PREFERRED_IO
    entry.st_blocks = -(-attr.size // BLOCK)
    entry.st_atime_ns = attr.atime_ns
    entry.st_mtime_ns = attr.mtime_ns
    entry.st_ctime_ns = attr.ctime_ns
    return entry
