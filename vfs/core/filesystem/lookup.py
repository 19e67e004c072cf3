"""Finding names, and the kernel's reference counts."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import trio

from vfs.core.inodes import ROOT, Inode, join
from vfs.core.volume import Volume
from vfs.data.content import Content
from vfs.data.snapshot import Base
from vfs.errors import ObjectNotFound, PreconditionFailed, Stale
from vfs.layout import decode_name
from vfs.types import Ino


async def lookup(volume: Volume, parent: Ino, name: bytes) -> Inode | None:
    """The entry, its lookup count one higher; None if there is none. Raises NameTooLong, NameNotText."""
    directory = volume.directory(parent)
    if name in (b".", b".."):
        inode = directory if name == b"." or directory.parent is None else directory.parent
        return volume.table.remember(inode)
    text = decode_name(name)
    while True:
        async with volume.paths.pinned(directory):
            if text not in directory.children and directory.ino != ROOT:
                volume.prefetch.asked(directory, text)
                await volume.absences.renew(directory, text)
            known = directory.children.get(text)
            linked = known is not None and len(known.names) > 1
            # `open` does not know by which of several names a program came: each is asked for again here
            max_age = volume.cache.max_age if linked else math.inf
            found = await volume.resolve(directory, text, directory.listed.get(text), max_age)
            if found is None:
                return None
            if not found.moving:
                return volume.table.remember(found)
        async with volume.paths.pinned(found):
            pass  # it is being renamed, replaced or removed: what it is called afterwards is not known yet


def forget(volume: Volume, counts: Sequence[tuple[Ino, int]]) -> None:
    """The kernel dropped this many references of each inode."""
    for ino, count in counts:
        volume.table.forget(ino, count)


async def getattr_(volume: Volume, ino: Ino) -> Inode:
    """The inode with attributes no older than the cache allows."""
    inode = volume.table.get(ino)
    await refresh(volume, inode)
    return inode


async def refresh(volume: Volume, inode: Inode, max_age: float = math.inf) -> None:
    """Asks the store again when what is known has expired, or is older. Raises Stale when the name is gone there."""
    if inode.ino == ROOT or inode.busy or not inode.names:
        return
    parent, name = inode.names[0]
    if parent.ino == ROOT:
        return
    async with volume.paths.pinned(parent):
        found = await volume.resolve(parent, name, inode.attr.is_dir, max_age)
        if found is not inode and not inode.handles and not inode.names:
            raise Stale(f"{name!r} was deleted or replaced by another writer")


async def on_current(volume: Volume, inode: Inode, change: Callable[[], Awaitable[None]]) -> None:
    """Changes the file as it is in the store: once more when another writer turns out to have replaced it.

    All attributes are stored together, and the etag does not change with them: no precondition would keep those that
    another writer has set. Raises Stale when he has removed it.
    """
    await refresh(volume, inode, volume.cache.max_age)
    try:
        await change()
    except (PreconditionFailed, ObjectNotFound):
        if inode.busy:
            raise
        volume.distrust(inode)
        for _ in range(len(inode.names)):  # each that is gone lets the next one come first
            await refresh(volume, inode)
        await change()


async def overtake(volume: Volume, inode: Inode) -> bool:
    """Who has it open goes on with what another writer stored since, if nobody saw anything of the version before.

    It is then as if they had opened it a moment later. The caller holds the inode's path and its content's lock.
    """
    content = inode.content
    if content is None or not _unseen(inode, content):
        return False
    [(parent, name)] = inode.names
    volume.distrust(inode)
    entry = await volume.cache.lookup(join(parent, name), False, 0.0)
    if entry is None or not _unseen(inode, content) or inode.replaced(parent, name, entry.attr, entry.etag):
        return False
    if entry.attr.size < content.size:
        return False  # a kernel that was told anything since it asked takes no new end from a short answer: zeros
    content.replace(Base(volume.keys(inode)[0], entry.etag, entry.attr.size))
    inode.etag = inode.unseen = entry.etag
    inode.attr = inode.merged(entry.attr)
    inode.known_at = trio.current_time()
    volume.outdated(inode.ino)
    return True


def _unseen(inode: Inode, content: Content) -> bool:
    """Nothing was read of its version, and nobody can write to it."""
    fresh = content.base is not None and content.base.etag == inode.unseen
    return fresh and inode.content is content and inode.only_read and len(inode.names) == 1


async def readlink(volume: Volume, ino: Ino) -> bytes:
    """The text of a symbolic link."""
    inode = volume.table.get(ino)
    if inode.target is not None:
        return inode.target
    async with volume.paths.pinned(inode):
        return await volume.attrs.target(inode)
