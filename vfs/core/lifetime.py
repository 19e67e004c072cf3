"""How long the kernel may believe what it is told of an inode: as long as this mount does, from when it was true."""

from __future__ import annotations

import math

import trio

from vfs.core.inodes import ROOT, Inode, join
from vfs.core.volume import Volume
from vfs.errors import NotFound, Stale
from vfs.types import Ino

OPEN_SECONDS = 1.0
"""At least, of an open file, whatever its age: it stays as it is until its last close.

With less than a moment the kernel would ask before every read.
"""

Place = tuple[Ino, bytes]
"""A directory, and a name there."""


def seconds_left(volume: Volume, inode: Inode, place: Place | None = None) -> float:
    """While nobody tells of others' changes, no more than an open may believe.

    `place` is the name that was asked for: where an inode has several, each is known by itself.
    """
    lifetime = _lifetime(volume, inode)
    left = lifetime
    if not _ours(inode):
        left += _known_at(volume, inode, place, lifetime) - trio.current_time()
        left = min(max(left, OPEN_SECONDS if inode.handles else 0.0), lifetime)
    return min(left, volume.cache.max_age)


def _lifetime(volume: Volume, inode: Inode) -> float:
    node = inode
    while node.names and node.names[0][0].names:
        node = node.names[0][0]
    memory = node.names and node.names[0][1] == "memory"
    return volume.config.memory_ttl if memory else volume.config.workspace_ttl


def _ours(inode: Inode) -> bool:
    """Nobody but this mount changes it, or it has something that the store does not have yet."""
    return (
        not inode.names
        or inode.names[0][0].ino == ROOT
        or (inode.attrs_dirty and not inode.late)
        or bool(inode.storing)
        or inode.etag is None
        or (inode.content is not None and inode.content.dirty)
    )


def _known_at(volume: Volume, inode: Inode, place: Place | None, lifetime: float) -> float:
    """When what is shown of it was true in the store, by trio's clock."""
    linked = len(inode.names) > 1
    if not linked and inode.known_at + lifetime > trio.current_time():
        return inode.known_at
    try:
        known = volume.cache.memory.get(_path(volume, inode, place if linked else None))
    except (NotFound, Stale):
        return -math.inf
    if known is None or known.entry is None:
        return -math.inf
    if inode.handles and inode.merged(known.entry.attr) != inode.attr:
        return -math.inf  # the store has another version since it was opened
    return known.at


def _path(volume: Volume, inode: Inode, place: Place | None) -> str:
    """Raises NotFound, Stale."""
    if place is None:
        return inode.path()
    directory, name = place
    return join(volume.table.get(directory), name.decode())
