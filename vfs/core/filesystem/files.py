"""Open files: open, read, write, flush, fsync, release."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

import structlog

from vfs.core.filesystem.lookup import overtake, refresh
from vfs.core.handles import FileHandle
from vfs.core.inodes import Inode
from vfs.core.volume import Volume
from vfs.data.content import Content
from vfs.data.reader import Reader
from vfs.data.stream import full_parts
from vfs.errors import BadHandle, FileTooBig, IsDirectory, Stale, VfsError
from vfs.meta.attrs import now_ns
from vfs.types import Attr, Caller, Fh, Ino

log = structlog.get_logger()

MOST_OVERTAKEN = 5
"""How often one read begins again because another writer was faster."""


async def open_(volume: Volume, ino: Ino, flags: int, caller: Caller) -> FileHandle:
    """Opens an existing file; O_TRUNC empties it, and the store keeps the old content until the next commit."""
    inode = volume.table.get(ino)
    if inode.attr.is_dir:
        raise IsDirectory(f"inode {ino}")
    names = list(inode.names)
    if len(names) > 1:  # not pinned yet: a name that has another file now is none of this one any more
        await refresh(volume, inode, volume.cache.max_age)
        if inode.names != names:
            raise Stale("one of its names has another file now: walk the path again")
    async with volume.paths.pinned(inode):
        if not inode.handles:  # asked after the wait: the last close may have reverted the file meanwhile
            await refresh(volume, inode, volume.cache.max_age)
            if not await volume.kernel_told():  # it would read new content as far as an old size
                raise Stale("the kernel has not heard yet how long it is: walk the path again")
        return await open_inode(volume, inode, flags, caller)


async def open_inode(volume: Volume, inode: Inode, flags: int, caller: Caller) -> FileHandle:
    """A handle on an inode that is current."""
    nameless = not inode.names and not inode.handles
    if nameless and (inode.content is None or not inode.content.detach()):
        # Replaced between LOOKUP and OPEN. What RAM still holds is what the name meant when the program asked;
        # without it, ESTALE makes the kernel walk the path again, once.
        raise Stale(f"inode {inode.ino} has no name any more")
    content = volume.content(inode)
    reader = Reader(volume.store, volume.read_ahead, volume.shared_content)
    handle = FileHandle(volume.handles.reserve(), inode, content, reader, flags, caller.uid)
    if handle.appends and handle.can_write and not inode.writers:
        content.appended = True
    volume.handles.add_file(handle)
    try:
        if flags & os.O_TRUNC:
            await resize(volume, inode, content, 0, handle.uid)
            if (
                not handle.can_write
            ):  # Linux truncates for O_RDONLY too, and the close of a reader stores nothing
                await volume.durable(inode)
    except BaseException:
        volume.handles.remove_file(handle.fh)
        raise
    return handle


async def read(volume: Volume, fh: Fh, offset: int, size: int) -> bytes:
    """Bytes of the file; fewer than asked only at its end."""
    handle = volume.handles.file(fh)
    if not handle.can_read:
        raise BadHandle("not open for reading")
    content, inode = handle.content, handle.inode
    content.raise_error()
    tries = content.replaced + MOST_OVERTAKEN
    while True:
        await _bring_home(volume, inode, content, offset, offset + size)
        base, replaced = content.base, content.replaced
        try:
            data = await handle.reader.read(content, offset, size)
        except Stale:
            # A commit may have replaced the object, a rename or an unlink may have moved it aside, and be about to
            # say so: wait for them and look again.
            async with volume.paths.pinned(inode), content.lock:
                if content.base == base and (replaced == tries or not await overtake(volume, inode)):
                    volume.distrust(inode)
                    raise
        else:
            if content.replaced != replaced:
                continue
            inode.unseen = None
            if replaced and not await volume.kernel_told():
                raise Stale("the kernel would take the end of the old version for that of the new one")
            return data


async def write(volume: Volume, fh: Fh, offset: int, data: bytes) -> int:
    """Accepts all of `data`, after waiting for room in RAM. Raises the error that sticks to the file."""
    handle = volume.handles.file(fh)
    if not handle.can_write:
        raise BadHandle("not open for writing")
    content, inode = handle.content, handle.inode
    end = offset + len(data)
    check_size(volume, content, offset, end)
    content.raise_error()
    await volume.budget.room(len(data))
    await _bring_home(volume, inode, content, offset, end)
    content.raise_error()
    if handle.appends and offset >= content.rebased:  # the kernel does not know yet where the end is
        offset = content.size
        if content.shipped(offset, offset + len(data)):
            return await write(volume, fh, offset, data)
        end = offset + len(data)
    content.write(offset, data, append=handle.appends and offset >= content.size)
    inode.times_set = False
    now = now_ns()
    mode = without_privileges(inode.attr) if handle.uid else inode.attr.mode
    inode.attr = replace(inode.attr, mode=mode, size=content.size, mtime_ns=now, ctime_ns=now)
    volume.changed(inode)
    if full_parts(content, offset, end):
        volume.ship(inode, content)
    return len(data)


async def flush(volume: Volume, fh: Fh) -> None:
    """close(2) of a descriptor that can write returns 0 only when everything is stored."""
    handle = volume.handles.file(fh)
    if handle.can_write:
        await volume.durable(handle.inode)


async def fsync(volume: Volume, fh: Fh) -> None:
    """Returns when everything written before is stored. Attributes go along (fdatasync costs the same)."""
    await volume.durable(volume.handles.file(fh).inode)


async def release(volume: Volume, fh: Fh) -> None:
    """The last descriptor of a handle is gone. What mmap wrote after close is stored now."""
    handle = volume.handles.remove_file(fh)
    handle.reader.close()
    inode, content = handle.inode, handle.content
    if inode.handles:
        return
    content.replaced = 0
    if not inode.names:
        await _bury(volume, inode)
        return
    try:
        if (content.dirty or inode.attrs_dirty) and content.error is None:
            await volume.durable(inode)
    except VfsError as error:
        log.error("not stored at the last close", inode=inode.ino, error=str(error))
    if content.error is not None or inode.attrs_dirty:
        await _give_up(volume, inode, content)
    elif inode.content is content:
        volume.let_go(inode)
    if not inode.lookups:
        volume.table.reap(inode)


async def _give_up(volume: Volume, inode: Inode, content: Content) -> None:
    """What could not be stored by the last close, as every program was told. Not while the file is being moved."""
    async with volume.paths.pinned(inode):
        if inode.handles:
            return
        if not inode.names:
            await _bury(volume, inode)
        elif content.error is not None and inode.content is content:
            revert(volume, inode, content)
        elif inode.attrs_dirty and not content.dirty:
            inode.attrs_dirty = False
            volume.distrust(inode)


async def _bury(volume: Volume, inode: Inode) -> None:
    """The last handle of a file without a name is closed: its content goes."""
    content = inode.content
    if content is not None:
        async with content.lock:
            await volume.shipper.abort(content.drop_stream())
    volume.release_content(inode)
    orphan, inode.orphan = inode.orphan, None
    inode.attrs_dirty = False
    volume.table.reap(inode)
    if orphan is not None and inode.etag is not None:
        await volume.delete_quietly(orphan)


def revert(volume: Volume, inode: Inode, content: Content) -> None:
    """What could not be stored is given up, as every program was told. The name shows what is stored."""
    path = inode.path()
    log.error("file was not stored; its last stored version remains", path=path, error=str(content.error))
    volume.abort_later(content)
    volume.release_content(inode)
    volume.distrust(inode)
    inode.attrs_dirty = False
    inode.stale_pages = True
    for parent, name in list(inode.names):
        if inode.etag is None:
            volume.detach(parent, name)
        volume.dropped(parent.ino, name.encode())


async def _bring_home(volume: Volume, inode: Inode, content: Content, start: int, end: int) -> None:
    """Commits when part of a range is in an upload: only then can it be read or written again."""
    while content.shipped(start, min(end, content.size)):
        content.raise_error()
        async with volume.paths.pinned(inode):
            if inode.content is content:
                await volume.commit(inode)
            else:
                await volume.committer.commit(content)


async def resize(volume: Volume, inode: Inode, content: Content, size: int, uid: int) -> None:
    """Cuts or extends a content; what it gains reads as zeros."""
    check_size(volume, content, size, size)
    content.raise_error()
    while content.shipped(size, content.size):
        async with volume.paths.pinned(inode):
            if size:
                await volume.commit(inode)
                continue
            async with content.lock:
                volume.abort_later(content)
                content.truncate(
                    0
                )  # in the same step: the parts are in no place where a reader could find them
        content.raise_error()
    content.truncate(size)
    now = now_ns()
    mode = without_privileges(inode.attr) if uid else inode.attr.mode
    inode.attr = replace(inode.attr, mode=mode, size=size, mtime_ns=now, ctime_ns=now)
    volume.changed(inode)


def without_privileges(attr: Attr) -> int:
    """The mode without setuid, and without setgid where it means privilege (inode(7))."""
    mode = attr.mode & ~stat.S_ISUID
    return mode & ~stat.S_ISGID if mode & stat.S_IXGRP else mode


def check_size(volume: Volume, content: Content, start: int, end: int) -> None:
    """Raises FileTooBig past what one object can hold, and for a hole that one commit could not fill."""
    limits = volume.store.capabilities
    hole = start - content.size
    if end > limits.max_object or hole > (limits.max_parts - 1) * content.part_size:
        raise FileTooBig(f"{end} bytes; an object holds {limits.max_object}")
