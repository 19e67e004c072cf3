"""Renames and exchanges: what S3 cannot do and a disk can, in one step."""

from __future__ import annotations

import os
import stat
from contextlib import AbstractContextManager, nullcontext

from vfs.errors import KeyRefused, ObjectNotFound
from vfs.store.local.locks import KeyLocks
from vfs.store.local.objects import Objects
from vfs.store.local.places import Place, locate
from vfs.store.local.records import Record, Records
from vfs.store.local.syscalls import exchange
from vfs.store.local.tree import Tree, lstat, patiently
from vfs.types import Key


class Renames:
    """Moves files and whole directories of one tree."""

    def __init__(self, tree: Tree, objects: Objects, records: Records, locks: KeyLocks) -> None:
        self._tree = tree
        self._objects = objects
        self._records = records
        self._locks = locks

    def rename(self, source: Key, target: Key) -> None:
        """Atomic. A directory replaces an empty one. Raises ObjectNotFound, KeyRefused."""
        origin, place = locate(source), locate(target)
        if origin.is_dir != place.is_dir:
            raise KeyRefused(f"{source!r} cannot become {target!r}: one is a directory, the other a file")
        try:
            patiently(lambda: self._rename(origin, place))
        finally:
            self._objects.prune(origin)
            self._objects.prune(place)

    def _rename(self, origin: Place, place: Place) -> None:
        with self._locks.hold(origin.key, place.key), self._parent(origin) as old:
            self._expect(old, origin)
            if origin == place:
                return
            if origin.is_dir and place.key.startswith(origin.key):
                raise KeyRefused(f"{place.key!r} lies inside {origin.key!r}")
            with self._tree.directory(place.parents, create=True) as new:
                if not origin.is_dir:
                    current = self._objects.current(new, place)
                    info = self._objects.head(origin.key)
                    assert info.meta is not None
                    self._records.announce(place.key, current, Record(info.etag, info.meta))
                with self._moving(origin, place):
                    os.rename(origin.name, place.name, src_dir_fd=old, dst_dir_fd=new)
                if not origin.is_dir:
                    self._records.forget(None, origin.key)
                self._tree.sync(new)
            self._tree.sync(old)

    def _moving(self, origin: Place, place: Place) -> AbstractContextManager[None]:
        return self._records.moving(origin.key, place.key) if origin.is_dir else nullcontext()

    def exchange(self, one: Key, other: Key) -> None:
        """Both must exist, a directory if the key ends in `/`. Raises ObjectNotFound."""
        first, second = locate(one), locate(other)
        with self._locks.hold(one, other), self._parent(first) as here, self._parent(second) as there:
            self._expect(here, first)
            self._expect(there, second)
            exchange(here, first.name, there, second.name)
            self._tree.sync(here)
            self._tree.sync(there)

    def _parent(self, place: Place) -> AbstractContextManager[int]:
        return self._tree.existing(place.parents, place.key)

    def _expect(self, parent: int, place: Place) -> None:
        status = lstat(parent, place.name)
        right = stat.S_ISDIR if place.is_dir else stat.S_ISREG
        if status is None or not right(status.st_mode):
            raise ObjectNotFound(f"no object {place.key!r}")
