"""What a content belongs to: the link from `vfs.data`, which knows no names, to the inode that has them."""

from __future__ import annotations

from typing import Protocol

from vfs.core.inodes import Inode
from vfs.store.base import ObjectMeta
from vfs.types import Key


class Namer(Protocol):
    """The part of a volume that knows where an inode is stored and with which attributes."""

    def keys(self, inode: Inode) -> tuple[Key, ...]: ...

    def meta(self, inode: Inode) -> ObjectMeta: ...


class NamedContent:
    """Subject of a content: an inode, stored at its names, or at its orphan key once it has none."""

    def __init__(self, volume: Namer, inode: Inode) -> None:
        self._volume = volume
        self._inode = inode

    def keys(self) -> tuple[Key, ...]:
        return self._volume.keys(self._inode)

    def meta(self) -> ObjectMeta:
        return self._volume.meta(self._inode)
