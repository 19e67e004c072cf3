"""unlink and rmdir, and what becomes of a file that is still open."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from vfs.core.inodes import ROOT, Inode, join
from vfs.core.volume import Volume
from vfs.data.snapshot import Base
from vfs.errors import (
    IsDirectory,
    NotDirectory,
    NotEmpty,
    NotFound,
    NotPermitted,
    ObjectNotFound,
    PreconditionFailed,
)
from vfs.layout import PLACEHOLDER, decode_name
from vfs.meta.attrs import now_ns
from vfs.store.base import ObjectInfo
from vfs.store.copying import copy_version
from vfs.types import Ino, Key


async def unlink(volume: Volume, parent: Ino, name: bytes) -> None:
    """Takes a name from a file; the object goes, unless somebody has it open."""
    directory, text = _entry(volume, parent, name)
    while True:
        inode = await find(volume, directory, text)
        if inode.attr.is_dir:
            raise IsDirectory(text)
        async with volume.paths.moving((inode,), directory):
            if directory.children.get(text) is not inode:
                continue
            await volume.attrs.mark(directory)
            await drop_object(volume, directory, text, inode)
            forget_name(volume, directory, text)
            return


async def rmdir(volume: Volume, parent: Ino, name: bytes) -> None:
    """Removes an empty directory."""
    directory, text = _entry(volume, parent, name)
    while True:
        inode = await find(volume, directory, text)
        if not inode.attr.is_dir:
            raise NotDirectory(text)
        async with volume.paths.moving((inode,), directory):
            if directory.children.get(text) is not inode:
                continue
            placeholders = await require_empty(volume, inode)
            await volume.attrs.mark(directory)
            for key in placeholders:
                await volume.store.delete(key)
            if inode.marker:
                await volume.store.delete(volume.layout.dir_key(inode.path()))
            forget_name(volume, directory, text)
            return


def _entry(volume: Volume, parent: Ino, name: bytes) -> tuple[Inode, str]:
    directory = volume.directory(parent)
    if directory.ino == ROOT:
        raise NotPermitted("'workspace' and 'memory' cannot be removed")
    return directory, decode_name(name)


async def find(volume: Volume, directory: Inode, name: str) -> Inode:
    """The inode under a name. Raises NotFound."""
    async with volume.paths.pinned(directory):
        inode = await volume.resolve(directory, name)
    if inode is None:
        raise NotFound(name)
    return inode


async def require_empty(volume: Volume, inode: Inode) -> Sequence[Key]:
    """Raises NotEmpty when anything lies under a directory: here, or in the store at this moment.

    Returns what does not count, and must go with the directory so that this does not come back.
    """
    if any(child.busy for child in inode.children.values()):
        raise NotEmpty(inode.path())
    key = volume.layout.dir_key(inode.path())
    page = await volume.store.list(key, limit=3)
    below = [info.key for info in page.objects if info.key != key]
    if any(found != key + PLACEHOLDER for found in below):
        raise NotEmpty(inode.path())
    return below


async def drop_object(volume: Volume, directory: Inode, name: str, inode: Inode) -> None:
    """Removes the object at one name of a file, which the caller holds exclusively.

    The last name of an open file: what is stored moves aside first, to be read until the last close.
    """
    key = volume.layout.file_key(join(directory, name))
    await _finish_upload(volume, inode, key)
    if inode.etag is None and (inode.content is None or inode.content.error is None):
        return  # after an error nobody knows whether it was stored
    base = _needed(inode)
    if base is not None and volume.store.capabilities.rename:
        orphan = _orphan(volume, inode)
        with suppress(ObjectNotFound):  # deleted elsewhere: there is nothing to keep
            await volume.store.rename(base.key, orphan)
            read_from(inode, await volume.store.head(orphan))
        return
    aside = await copy_aside(volume, inode, key)
    await volume.store.delete(key)
    if aside is not None:
        read_from(inode, aside)


async def copy_aside(volume: Volume, inode: Inode, key: Key) -> ObjectInfo | None:
    """A copy of what is stored of an open file whose name, at `key`, is about to go; None if nobody needs one.

    The file itself is untouched: once its last name is gone, `read_from` turns to the copy. What another writer has
    replaced cannot be kept any more, and keeps nobody from removing it.
    """
    await _finish_upload(volume, inode, key)
    base = _needed(inode)
    if base is None:
        return None
    source = ObjectInfo(base.key, base.size, base.etag, 0)
    try:
        return await copy_version(volume.store, source, _orphan(volume, inode), volume.meta(inode))
    except (PreconditionFailed, ObjectNotFound):
        return None


def read_from(inode: Inode, aside: ObjectInfo) -> None:
    """Those who have a nameless file open read it here from now on, if they have not closed it meanwhile."""
    inode.orphan = aside.key
    inode.etag = aside.etag
    if inode.content is not None:
        inode.content.rebase(aside)


async def _finish_upload(volume: Volume, inode: Inode, key: Key) -> None:
    """Parts that were sent exist nowhere but in an upload to the name that is about to go, be it one of several."""
    content = inode.content
    if content is None or content.stream is None or content.error is not None:
        return
    if inode.handles and content.stream.upload.key == key:
        await volume.commit(inode)


def _needed(inode: Inode) -> Base | None:
    """The stored version that somebody who has the file open would miss."""
    content = inode.content
    if len(inode.names) > 1 or not inode.handles or content is None or not content.base_limit:
        return None
    return content.base


def _orphan(volume: Volume, inode: Inode) -> Key:
    return volume.layout.private_key("orphans", volume.id, str(inode.ino))


def forget_name(volume: Volume, directory: Inode, name: str) -> None:
    """The name is gone from the store: here it goes too."""
    volume.cache.drop(join(directory, name))
    inode = volume.detach(directory, name)
    volume.touch(directory)
    inode.attr = replace(inode.attr, ctime_ns=now_ns())
    for parent, other in inode.names:
        known = volume.cache.memory.get(path := join(parent, other))
        if known is not None and known.entry is not None:
            volume.cache.put(path, replace(known.entry, attr=inode.attr), known.at)
