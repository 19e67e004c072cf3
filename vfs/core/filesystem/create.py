"""New entries: files, directories, symbolic links, special files, hard links."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

from vfs.core.filesystem.files import open_inode
from vfs.core.filesystem.lookup import on_current
from vfs.core.handles import FileHandle
from vfs.core.inodes import ROOT, Inode, join
from vfs.core.volume import Volume
from vfs.errors import (
    Exists,
    InvalidArgument,
    IsDirectory,
    NameTooLong,
    NotFound,
    NotPermitted,
    ObjectNotFound,
    PreconditionFailed,
    TooManyLinks,
    VfsError,
)
from vfs.layout import decode_name
from vfs.meta.attrs import encode, now_ns
from vfs.meta.entry import Entry
from vfs.store.base import Body, ObjectInfo
from vfs.store.copying import copy_version
from vfs.types import Attr, Caller, Ino, Key

MAX_LINKS = 1000
"""Names of one file: every commit writes each of them."""

MAX_TARGET = 4096
"""Bytes in a symbolic link (PATH_MAX)."""


def _place(volume: Volume, parent: Ino, name: bytes) -> tuple[Inode, str]:
    """The directory and the name as text, if a new entry may be made there."""
    directory = volume.directory(parent)
    if directory.ino == ROOT:
        raise NotPermitted("the root of a mount holds 'workspace' and 'memory' and nothing else")
    text = decode_name(name)
    volume.layout.dir_key(join(directory, text))
    return directory, text


async def create(
    volume: Volume, parent: Ino, name: bytes, mode: int, flags: int, caller: Caller
) -> tuple[FileHandle, Inode]:
    """Makes a file and opens it. The store hears of it at the first close or fsync.

    If another mount made the name meanwhile it is opened, or refused with Exists for O_EXCL.
    """
    directory, text = _place(volume, parent, name)
    async with volume.paths.pinned(directory):
        found = await volume.resolve(directory, text)
        if found is None:
            attr = owned_by(directory, caller.uid, caller.gid, stat.S_IFREG | stat.S_IMODE(mode))
            inode = volume.table.add(directory, text, attr, None)
            volume.content(inode)
            volume.changed(inode)
            volume.touch(directory)
            try:
                handle = await open_inode(volume, inode, flags & ~os.O_TRUNC, caller)
            except VfsError:
                volume.detach(directory, text)
                raise
            return handle, volume.table.remember(inode)
    if flags & os.O_EXCL:
        raise Exists(text)
    if found.attr.is_dir:
        raise IsDirectory(text)
    async with volume.paths.pinned(found):
        handle = await open_inode(volume, found, flags, caller)
        return handle, volume.table.remember(found)


async def mkdir(volume: Volume, parent: Ino, name: bytes, mode: int, caller: Caller) -> Inode:
    """Makes a directory; it is in the store when this returns."""
    return await _make(volume, parent, name, stat.S_IFDIR | stat.S_IMODE(mode), caller)


async def mknod(volume: Volume, parent: Ino, name: bytes, mode: int, rdev: int, caller: Caller) -> Inode:
    """Makes an empty file, a FIFO, a socket or a device node."""
    if stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
        raise InvalidArgument(f"mode {mode:o} is not a kind of node")
    return await _make(volume, parent, name, mode, caller, rdev=rdev)


async def symlink(volume: Volume, parent: Ino, name: bytes, target: bytes, caller: Caller) -> Inode:
    """Makes a symbolic link, stored as an object whose body is the target (as s3fs does)."""
    if len(target) > MAX_TARGET:
        raise NameTooLong(f"link target of {len(target)} bytes; the limit is {MAX_TARGET}")
    inode = await _make(volume, parent, name, stat.S_IFLNK | 0o777, caller, body=target)
    inode.target = target
    return inode


async def _make(
    volume: Volume,
    parent: Ino,
    name: bytes,
    mode: int,
    caller: Caller,
    *,
    rdev: int = 0,
    body: bytes = b"",
) -> Inode:
    directory, text = _place(volume, parent, name)
    async with volume.paths.pinned(directory):
        if await volume.resolve(directory, text) is not None:
            raise Exists(text)
        attr = replace(owned_by(directory, caller.uid, caller.gid, mode), rdev=rdev, size=len(body))
        path = join(directory, text)
        key = volume.layout.dir_key(path) if attr.is_dir else volume.layout.file_key(path)
        info = await _put_new(volume, key, [body] if body else [], attr, text)
        inode = volume.table.add(directory, text, attr, info.etag)
        entry = Entry(attr, info.etag, modified_ns=info.modified_ns)
        if attr.is_dir:
            volume.cache.created_directory(path, entry)
        else:
            volume.cache.put(path, entry)
        volume.touch(directory)
        return volume.table.remember(inode)


async def _put_new(volume: Volume, key: Key, body: Body, attr: Attr, name: str) -> ObjectInfo:
    limits = volume.store.capabilities
    meta = encode(attr, name, limits.max_metadata)
    try:
        return await volume.store.put(key, body, meta, if_absent=limits.conditional_put)
    except PreconditionFailed as error:
        volume.cache.doubt(volume.layout.path(key))
        raise Exists(name) from error


async def link(volume: Volume, ino: Ino, parent: Ino, name: bytes) -> Inode:
    """One more name for a file of any kind: shared while the mount lives, copied in the store (decisions/0002)."""
    inode = volume.table.get(ino)
    if inode.attr.is_dir:
        raise NotPermitted("directories cannot be linked")
    directory, text = _place(volume, parent, name)

    async def one_more() -> None:
        if not inode.names:
            raise NotFound(f"inode {ino} has no name")
        if len(inode.names) >= MAX_LINKS:
            raise TooManyLinks(f"a file has at most {MAX_LINKS} names")
        async with volume.paths.moving((inode,), directory):
            if not inode.names:
                raise NotFound(f"inode {ino} was removed")
            if await volume.resolve(directory, text, max_age=volume.cache.max_age) is not None:
                raise Exists(text)
            await _copy_to(volume, inode, directory, text)

    await on_current(volume, inode, one_more)
    return volume.table.remember(inode)


async def _copy_to(volume: Volume, inode: Inode, directory: Inode, name: str) -> None:
    """Gives a file that is held exclusively one more name."""
    await volume.commit(inode)
    source = volume.keys(inode)[0]
    assert inode.etag is not None, "committed"
    before, inode.attr = inode.attr, replace(inode.attr, ctime_ns=now_ns())
    stored = ObjectInfo(source, inode.attr.size, inode.etag, 0)
    target = volume.layout.file_key(join(directory, name))
    body = inode.content.whole() if inode.content is not None else None
    try:
        if body is not None and volume.store.capabilities.conditional_put:
            info = await _put_new(volume, target, body, inode.attr, name)
        else:
            await require_absent(volume, target)
            info = await copy_version(volume.store, stored, target, volume.meta(inode))
    except VfsError:
        inode.attr = before
        raise
    volume.table.link(inode, directory, name, info.etag)
    volume.stored_at(inode, directory, name, info)
    volume.touch(directory)


async def require_absent(volume: Volume, key: Key) -> None:
    """Just before a copy, which replaces whatever is there; `key` is of a file or a directory. Raises Exists."""
    try:
        if key.endswith("/"):
            there = bool((await volume.store.list(key, limit=1)).objects)
        else:
            there = bool(await volume.store.head(key))
    except ObjectNotFound:
        return
    if there:
        volume.cache.doubt(volume.layout.path(key))
        raise Exists(key)


def owned_by(parent: Inode, uid: int, gid: int, mode: int) -> Attr:
    """Attributes of a new entry. A setgid directory hands down its group, to directories the bit as well."""
    if parent.attr.mode & stat.S_ISGID:
        gid = parent.attr.gid
        if stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
    now = now_ns()
    return Attr(mode, uid, gid, 0, now, now, now)
