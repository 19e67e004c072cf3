"""Open directories: opendir, readdir, releasedir, fsyncdir."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

from vfs.core.handles import DirectoryHandle
from vfs.core.inodes import ROOT, Inode, join
from vfs.core.volume import Volume
from vfs.errors import VfsError, leading
from vfs.types import Fh, Ino

BATCH = 128
"""Entries whose attributes are looked up together: about what one READDIRPLUS reply holds."""


async def opendir(volume: Volume, ino: Ino) -> Fh:
    """A handle; the names are taken when the first of them is asked for."""
    return volume.handles.add_directory(volume.directory(ino)).fh


async def entries(volume: Volume, fh: Fh, start: int) -> AsyncIterator[tuple[bytes, Inode, int]]:
    """(name, inode, offset of the next) from offset `start` on. The caller counts the lookups it reports.

    Offset 0 takes the names anew (rewinddir). A name that went away since is left out; none comes twice.
    """
    handle = volume.handles.directory(fh)
    if start == 0 or handle.names is None:
        await _take_names(volume, handle)
    names = handle.names
    assert names is not None
    if start < 1:
        yield b".", handle.inode, 1
    if start < 2:
        yield b"..", handle.inode.parent or handle.inode, 2
    at = max(start - 2, 0)
    while at < len(names):
        batch = names[at : at + BATCH]
        async with volume.paths.pinned(handle.inode):
            found = await _resolve_all(volume, handle, batch)
        for i, name in enumerate(batch):
            inode = found.get(name)
            if inode is not None and handle.inode.children.get(name) is inode:
                yield name.encode(), inode, at + i + 3
        at += len(batch)


async def _take_names(volume: Volume, handle: DirectoryHandle) -> None:
    """The names now: those in the store, and those of files that are not stored yet."""
    directory = handle.inode
    handle.gone.clear()
    if directory.ino == ROOT:
        handle.names = list(directory.children)
        return
    if not directory.names:
        handle.names = []
        return
    async with volume.paths.pinned(directory):
        stored = set(await volume.cache.children(directory.path()))
        own = {name for name, child in directory.children.items() if child.busy}
        handle.names = sorted((stored - handle.gone) | own)
        handle.gone.clear()


async def _resolve_all(volume: Volume, handle: DirectoryHandle, batch: list[str]) -> dict[str, Inode]:
    """The inodes of a batch; what the store must be asked for is asked at once, bounded."""
    found: dict[str, Inode] = {}
    directory = handle.inode
    if not directory.names and directory.ino != ROOT:
        return found
    wanted = [name for name in batch if name not in handle.gone or name in directory.children]

    async def one(name: str) -> None:
        async with volume.parallel:
            inode = await volume.resolve(directory, name)
        if inode is not None:
            found[name] = inode

    unknown: list[str] = []
    for name in wanted:
        child = directory.children.get(name)
        if child is not None and (child.busy or directory.ino == ROOT):
            found[name] = child
        elif (entry := volume.cache.peek(join(directory, name))) is not None:
            inode = volume.adopt(directory, name, entry)
            if inode is not None:
                found[name] = inode
        else:
            unknown.append(name)
    try:
        async with trio.open_nursery() as nursery:
            for name in unknown:
                nursery.start_soon(one, name)
    except BaseExceptionGroup as group:
        raise leading(group) from group
    return found


async def releasedir(volume: Volume, fh: Fh) -> None:
    inode = volume.handles.remove_directory(fh).inode
    if not inode.lookups:
        volume.table.reap(inode)


async def fsyncdir(volume: Volume, fh: Fh) -> None:
    """Stores the directory's times, and every new file in it that nobody closed yet."""
    inode = volume.handles.directory(fh).inode
    for child in list(inode.children.values()):
        if child.etag is None and child.content is not None:
            await volume.durable(child)
    try:
        await volume.durable(inode)
    except VfsError:
        inode.attrs_dirty = bool(inode.names)
        raise
