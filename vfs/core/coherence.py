"""What becomes of the tree and of the kernel's caches when another mount changed something.

First what this mount remembers, then its inodes, then the kernel. A file that is open here keeps its version: its
attributes are this mount's own until the last close. The kernel is told by a thread of its own (`fuse.notify`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog
import trio

from vfs.core.inodes import ROOT, Inode
from vfs.core.volume import Volume
from vfs.meta.entry import Entry
from vfs.meta.shared import Change, Kind

log = structlog.get_logger()


class Coherence:
    """Listener of one mount's feed. Everything here is plain code: no request can come in between."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def connected(self, alive: bool) -> None:
        """While the feed is dead, files are asked for again when they are opened."""
        self._volume.cache.sharing.heard = alive

    def changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.kind == Kind.ALL:
                self.distrust_all()
            elif change.kind == Kind.TREE:
                self.distrust(change.path)
            elif change.kind == Kind.PUT and change.entry is not None:
                self._put(change.path, change.entry, change.origin)
            else:
                self._drop(change.path, change.origin)

    # -- one change ------------------------------------------------------------------------------------------

    def _put(self, path: str, entry: Entry, origin: str) -> None:
        volume = self._volume
        if not volume.cache.heard(path, entry, origin):
            self._doubt_place(path)
            return
        parent, name = self._place(path)
        if parent is None:
            return
        known = parent.children.get(name)
        if known is None:
            self._kernel_forgets(parent, name)  # it may remember that there was none
        elif known.busy:
            known.known_at = (
                -math.inf
            )  # it keeps its version; who opens it after the last close gets this one
        elif volume.adopt(parent, name, entry, trio.current_time()) is not known:
            self._kernel_forgets(parent, name)

    def _drop(self, path: str, origin: str) -> None:
        volume = self._volume
        if not volume.cache.heard(path, None, origin):
            self._doubt_place(path)
            return
        parent, name = self._place(path)
        if parent is None or name not in parent.children:
            return
        parent.children[name].known_at = -math.inf  # who writes it stores it again, at its close
        volume.adopt(parent, name, None)
        self._kernel_forgets(parent, name)

    def distrust(self, path: str) -> None:
        """Whatever is known of a path and of all below it is asked for again."""
        self._volume.cache.forget(path)
        self._doubt_place(path)

    def _doubt_place(self, path: str) -> None:
        """The same of inodes and kernel."""
        parent, name = self._place(path)
        if parent is None:
            return
        inode = parent.children.get(name)
        for node in (inode, *inode.below()) if inode is not None else ():
            self._doubt(node)
        self._kernel_forgets(parent, name)

    def distrust_all(self) -> None:
        """The same for everything."""
        self._volume.cache.forget_all()
        for inode in self._volume.table:
            self._doubt(inode)

    def _doubt(self, inode: Inode) -> None:
        if inode.ino == ROOT:
            return
        inode.known_at = -math.inf
        self._volume.outdated(inode.ino)
        for parent, name in inode.names:
            if parent.ino != ROOT:
                self._kernel_forgets(parent, name)

    def _place(self, path: str) -> tuple[Inode | None, str]:
        """The directory that a path lies in, if this mount knows it, and the name there."""
        *directories, name = path.split("/")
        node: Inode | None = self._volume.table.root
        for directory in directories:
            node = node.children.get(directory) if node is not None else None
        return (None if node is None or node.ino == ROOT else node), name

    def _kernel_forgets(self, parent: Inode, name: str) -> None:
        self._volume.dropped(parent.ino, name.encode())
