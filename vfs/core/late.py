"""Times of directories, changed by entries that came or went: stored later, many changes in one (decisions/0005)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import structlog
import trio

from vfs.core.background import Background
from vfs.core.inodes import ROOT, Inode
from vfs.core.paths import Paths
from vfs.errors import ObjectNotFound, VfsError
from vfs.meta.attrs import now_ns
from vfs.types import Attr, Ino

log = structlog.get_logger()

LATE_DIRECTORIES = 1024
"""Directories whose times are newer here than in the store; the oldest is stored when there are more."""

StoreAttrs = Callable[[Inode], Awaitable[None]]
"""Stores a directory's attributes with its path pinned. Raises VfsError."""


class LateTimes:
    """INVARIANT: a directory in here has `attrs_dirty`."""

    def __init__(
        self, store_attrs: StoreAttrs, paths: Paths, background: Background, parallel: trio.CapacityLimiter
    ) -> None:
        self._store_attrs = store_attrs
        self._paths = paths
        self._background = background
        self._parallel = parallel
        self._late: OrderedDict[Ino, Inode] = OrderedDict()

    def touch(self, directory: Inode, *, keep: bool = True) -> None:
        """An entry came or went: new times. Only `keep` has them stored."""
        now = now_ns()
        directory.attr = replace(directory.attr, mtime_ns=now, ctime_ns=now)
        if directory.ino == ROOT or not keep:
            return
        directory.late = directory.late or not directory.attrs_dirty
        directory.attrs_dirty = True
        self._late[directory.ino] = directory
        self._late.move_to_end(directory.ino)
        while len(self._late) > LATE_DIRECTORIES:
            self._background.spawn(partial(self._store, self._oldest()))

    def discard(self, directory: Inode) -> None:
        """Stored by somebody else, or gone."""
        self._late.pop(directory.ino, None)
        directory.late = False

    def put_back(self, directory: Inode, before: Attr, late: bool) -> None:
        """It could not be stored: it waits for the next try, and in all else it is again what others make of it.

        `before` are the attributes that were to be stored, and `late` whether the times alone were new in them.
        """
        if not directory.attrs_dirty or not directory.names:
            self.discard(directory)
            return
        now = directory.attr
        same = replace(before, mtime_ns=now.mtime_ns, ctime_ns=now.ctime_ns) == now
        directory.late = late and same  # else something was set meanwhile, and could not be stored either
        self._late[directory.ino] = directory

    async def store_all(self) -> None:
        """Stores the times of every directory that is newer here, several at once; failures are logged."""

        async def one(directory: Inode) -> None:
            async with self._parallel:
                await self._store(directory)

        async with trio.open_nursery() as nursery:
            while self._late:
                nursery.start_soon(one, self._oldest())

    def _oldest(self) -> Inode:
        """Taken out, to be stored; until that begins others change it as any."""
        return self._late.popitem(last=False)[1]

    async def _store(self, directory: Inode) -> None:
        try:
            async with self._paths.pinned(directory):
                if directory.attrs_dirty and directory.names:
                    await self._store_attrs(directory)
        except ObjectNotFound:  # another mount removed it
            directory.attrs_dirty, directory.known_at = False, -math.inf
            self.discard(directory)
        except VfsError as error:
            self.put_back(directory, directory.attr, directory.late)
            log.info("directory times not stored yet", inode=directory.ino, error=str(error))
