"""What a content belongs to: the link from `vfs.data`, which knows no names, to the inode that has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from vfs.core.inodes import Inode
from vfs.meta.attrs import Defaults, decode
from vfs.store.base import ObjectInfo, ObjectMeta
from vfs.types import ETag, Ino, Key

MOMENT_NS = 10_000_000_000
"""How much earlier than its last write the time of a streamed file may be."""


class Namer(Protocol):
    """The part of a volume that knows where an inode is stored and with which attributes."""

    def keys(self, inode: Inode) -> tuple[Key, ...]: ...

    def meta(self, inode: Inode) -> ObjectMeta: ...

    def stored_at(self, inode: Inode, parent: Inode, name: str, info: ObjectInfo) -> None: ...

    @property
    def outdated(self) -> Callable[[Ino], None]: ...


class NamedContent:
    """Subject of a content: an inode, stored at its names, or at its orphan key once it has none."""

    def __init__(self, volume: Namer, inode: Inode) -> None:
        self._volume = volume
        self._inode = inode

    def keys(self) -> tuple[Key, ...]:
        return self._volume.keys(self._inode)

    def meta(self) -> ObjectMeta:
        return self._volume.meta(self._inode)

    def others(self) -> Sequence[tuple[Key, ETag | None]]:
        inode = self._inode
        versions = [inode.version(parent, name) for parent, name in inode.names[1:]]
        return list(zip(self.keys()[1:], versions, strict=True))

    def copied(self, info: ObjectInfo) -> None:
        at = self.keys().index(info.key)
        self._volume.stored_at(self._inode, *self._inode.names[at], info)

    def accept(self, meta: ObjectMeta) -> bool:
        """It may have the times of when its upload began, as later ones cost a copy (decisions/0009).

        If that was a moment ago, nobody set them on purpose, and nothing else differs.
        """
        inode = self._inode
        now = inode.attr
        then = decode(ObjectInfo(Key(""), 0, ETag(""), 0, meta), Defaults(0, 0, 0))
        if inode.times_set or not 0 <= now.mtime_ns - then.mtime_ns <= MOMENT_NS:
            return False
        inode.attr = replace(now, mtime_ns=then.mtime_ns, ctime_ns=then.ctime_ns, atime_ns=then.atime_ns)
        if self.meta() != meta:
            inode.attr = now
            return False
        self._volume.outdated(inode.ino)
        return True
