"""unlink and rmdir, and what becomes of a file that is still open."""

from __future__ import annotations

from dataclasses import replace

from vfs.core.inodes import ROOT, Inode, join
from vfs.core.volume import Volume
from vfs.errors import IsDirectory, NotDirectory, NotEmpty, NotFound, NotPermitted
from vfs.layout import decode_name
from vfs.meta.attrs import now_ns
from vfs.meta.cache import Entry
from vfs.store.base import ObjectInfo
from vfs.store.copying import copy_object
from vfs.types import ETag, Ino


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
            await volume.mark(directory)
            await drop_object(volume, directory, text, inode)
            await forget_name(volume, directory, text)
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
            await require_empty(volume, inode)
            await volume.mark(directory)
            if inode.marker:
                await volume.store.delete(volume.layout.dir_key(inode.path()))
            await forget_name(volume, directory, text)
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


async def require_empty(volume: Volume, inode: Inode) -> None:
    """Raises NotEmpty when anything lies under a directory: here, or in the store at this moment."""
    if any(child.busy for child in inode.children.values()):
        raise NotEmpty(inode.path())
    key = volume.layout.dir_key(inode.path())
    page = await volume.store.list(key, limit=2)
    if any(info.key != key for info in page.objects):
        raise NotEmpty(inode.path())


async def drop_object(volume: Volume, directory: Inode, name: str, inode: Inode) -> None:
    """Removes the object at one name of a file, which the caller holds exclusively.

    The last name of an open file: what is stored moves aside first, to be read until the last close.
    """
    last = len(inode.names) == 1
    content = inode.content
    if (
        last
        and inode.handles
        and content is not None
        and content.stream is not None
        and content.error is None
    ):
        await volume.commit(inode)  # parts that were sent exist nowhere but in an upload to this key
    if inode.etag is None and (content is None or content.error is None):
        return  # after an error nobody knows whether it was stored
    key = volume.layout.file_key(join(directory, name))
    if last and inode.handles and content is not None and content.base_limit:
        await _set_aside(volume, inode)
        if volume.store.capabilities.rename:
            return
    await volume.store.delete(key)


async def _set_aside(volume: Volume, inode: Inode) -> None:
    """Moves, or copies, the stored content to the orphan key. The file's own key still has to go after a copy."""
    content = inode.content
    assert content is not None
    async with content.lock:
        base = content.base
        assert base is not None, "there are bytes of it to be kept"
        orphan = volume.layout.private_key("orphans", volume.id, str(inode.ino))
        if volume.store.capabilities.rename:
            await volume.store.rename(base.key, orphan)
            info = await volume.store.head(orphan)
        else:
            source = ObjectInfo(base.key, base.size, base.etag, 0)
            info = await copy_object(volume.store, source, orphan, volume.meta(inode))
        inode.orphan = orphan
        inode.etag = info.etag
        content.rebase(info)


async def forget_name(volume: Volume, directory: Inode, name: str) -> None:
    """The name is gone from the store: here it goes too."""
    volume.cache.drop(join(directory, name))
    first = directory.children[name].names[0] == (directory, name)
    inode = volume.detach(directory, name)
    volume.touch(directory)
    inode.attr = replace(inode.attr, ctime_ns=now_ns())
    if inode.names and first:
        await volume.take_first_name(inode)
    for parent, other in inode.names:
        volume.cache.put(join(parent, other), Entry(inode.attr, inode.etag or ETag("")))
