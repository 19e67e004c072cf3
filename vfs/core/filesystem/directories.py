"""Open directories: opendir, readdir, releasedir, fsyncdir."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator

import trio

from vfs.core.handles import DirectoryHandle
from vfs.core.inodes import ROOT, Inode
from vfs.core.volume import Volume
from vfs.errors import NotDirectory, leading
from vfs.meta.entry import Entry
from vfs.meta.index import LEAST
from vfs.meta.listing import Listing
from vfs.types import Fh, Ino

BATCH = 128
"""Entries whose attributes are looked up together: about what one READDIRPLUS reply holds."""


async def opendir(volume: Volume, ino: Ino) -> Fh:
    """A handle; the names are taken when the first of them is asked for."""
    inode = volume.table.get(ino)
    if not inode.attr.is_dir:
        raise NotDirectory(f"inode {ino}")
    return volume.handles.add_directory(inode).fh


async def entries(
    volume: Volume, fh: Fh, start: int
) -> AsyncGenerator[tuple[bytes, Inode | None, int], None]:
    """(name, inode, offset of the next) from offset `start` on. The caller counts the lookups it reports.

    The inode is None where it would take a question to the store: who wants the attributes looks the name up.
    Offset 0 begins a new listing (rewinddir). A name that went away since is left out; none comes twice.
    """
    handle = volume.handles.directory(fh)
    if start == 0 or handle.listing is None:
        _begin(volume, handle)
    if start < 1:
        yield b".", handle.inode, 1
    if start < 2:
        yield b"..", handle.inode.parent or handle.inode, 2
    at = max(start - 2, 0)
    while True:
        while at >= len(handle.names):
            if not await _extend(volume, handle):
                if handle.listing is not None:
                    handle.listing.share()
                return
        batch = handle.names[at : at + BATCH]
        async with volume.paths.pinned(handle.inode):
            found, unknown = await _resolve_all(volume, handle, batch)
        try:
            for i, name in enumerate(batch):
                inode = found.get(name)
                if name in unknown and name not in handle.gone:
                    yield name.encode(), None, at + i + 3
                elif inode is not None and handle.inode.children.get(name) is inode:
                    yield name.encode(), inode, at + i + 3
        finally:
            for inode in found.values():
                volume.table.reap(inode)  # those that the caller had no room for
        at += len(batch)


def _begin(volume: Volume, handle: DirectoryHandle) -> None:
    directory = handle.inode
    handle.names, handle.listed, handle.moved = [], {}, set()
    directory.listed = handle.kinds = {}
    handle.gone.clear()
    handle.own = {name for name, child in directory.children.items() if child.busy or directory.ino == ROOT}
    path = directory.path() if directory.names else ""
    handle.listing = Listing(volume.store, volume.layout, volume.cache, path)
    handle.listing.done = not directory.names


async def _extend(volume: Volume, handle: DirectoryHandle) -> bool:
    """Fetches the next page of names; False when there are no more."""
    listing = handle.listing
    assert listing is not None
    if not listing.done:
        async with volume.paths.pinned(handle.inode):
            listing = _follow_rename(volume, handle, listing)
            page = await listing.page()
        if handle.moved:
            page = {name: listed for name, listed in page.items() if name not in handle.moved}
        handle.listed = page
        handle.kinds.update((name, listed.directory) for name, listed in page.items())
        handle.own.difference_update(page)
        handle.names.extend(page)
        if listing.done:
            _drop_vanished(volume, handle, listing)
        return True
    rest, handle.own = sorted(handle.own), set()
    handle.names.extend(rest)
    return bool(rest)


def _drop_vanished(volume: Volume, handle: DirectoryHandle, listing: Listing) -> None:
    """What a whole listing does not show is gone, unless this mount made it meanwhile."""
    directory = handle.inode
    if listing.watch.void or handle.moved or not directory.names:
        return
    path = directory.path()
    for name, child in list(directory.children.items()):
        if name in handle.kinds or name in handle.own or name in listing.watch.written or child.busy:
            continue
        volume.cache.memory.discard(f"{path}/{name}")
        volume.adopt(directory, name, None)
        volume.dropped(directory.ino, name.encode())


def _follow_rename(volume: Volume, handle: DirectoryHandle, listing: Listing) -> Listing:
    """A directory that was renamed since is listed anew under its new key, without what was shown already."""
    path = handle.inode.path() if handle.inode.names else listing.path
    if path != listing.path:
        handle.moved = set(handle.names)
        listing = handle.listing = Listing(volume.store, volume.layout, volume.cache, path)
    return listing


async def _resolve_all(
    volume: Volume, handle: DirectoryHandle, batch: list[str]
) -> tuple[dict[str, Inode], set[str]]:
    """The inodes of a batch, and the names that the store has and of which nothing more is known here."""
    found: dict[str, Inode] = {}
    listed_only: set[str] = set()
    directory = handle.inode
    if not directory.names and directory.ino != ROOT:
        return found, listed_only
    path = directory.path()
    doubtful: list[str] = []
    firm = volume.store.capabilities.firm_prefixes
    for name in batch:
        child = directory.children.get(name)
        if child is None and name in handle.gone:
            continue
        listed = handle.listed.get(name)
        if child is not None and listed is not None and listed.replaced:
            child.known_at = -math.inf
        if child is not None and (
            child.busy or directory.ino == ROOT or volume.fresh(child, f"{path}/{name}")
        ):
            found[name] = child
            continue
        entry, known_at = _known(volume, handle, path, name)
        inode = volume.adopt(directory, name, entry, known_at) if entry is not None else None
        if inode is not None:
            found[name] = inode
        elif listed is not None and child is None and (firm or not listed.directory):
            listed_only.add(name)
        else:
            doubtful.append(name)

    async def one(name: str) -> None:
        async with volume.parallel:
            inode = await volume.resolve(directory, name)
        if inode is not None:
            found[name] = inode

    try:
        async with trio.open_nursery() as nursery:
            for name in doubtful:
                nursery.start_soon(one, name)
    except BaseExceptionGroup as group:
        raise leading(group) from group
    return found, listed_only


def _known(volume: Volume, handle: DirectoryHandle, path: str, name: str) -> tuple[Entry | None, float]:
    """What is known of a name without asking, and since when if that was an answer of the store.

    That of the listing, unless this mount wrote that name since it began.
    """
    listed = handle.listed.get(name)
    entry, at = (listed.entry, listed.at) if listed is not None else (None, -math.inf)
    watch = handle.listing.watch if handle.listing is not None else None
    if entry is not None and watch is not None and not watch.void and name not in watch.written:
        return entry, at
    return volume.cache.peek(f"{path}/{name}") or (None if name in handle.gone else entry), -math.inf


async def releasedir(volume: Volume, fh: Fh) -> None:
    handle = volume.handles.remove_directory(fh)
    inode = handle.inode
    if handle.listing is not None and handle.listing.done and len(handle.names) >= LEAST and inode.names:
        volume.cache.save_index(inode.path(), handle.names)
    if inode.listed is handle.kinds:
        inode.listed = {}
    if not inode.lookups:
        volume.table.reap(inode)


async def fsyncdir(volume: Volume, fh: Fh) -> None:
    """Stores the directory's times, and every new file in it that nobody closed yet."""
    inode = volume.handles.directory(fh).inode
    for child in list(inode.children.values()):
        if child.etag is None and child.content is not None:
            await volume.durable(child)
    await volume.durable(inode)
