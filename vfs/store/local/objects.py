"""Objects as plain files: what one call of the store does on the disk. Synchronous; runs in worker threads.

A new version is written to a temporary file, stamped, given its record, fsynced, and renamed over the old one
under the key's lock; then the directory is fsynced. Whoever looks sees the whole old or the whole new object.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from vfs.errors import KeyRefused, ObjectNotFound, PreconditionFailed, StoreUnavailable
from vfs.store.base import Body, Fetched, ObjectInfo, ObjectMeta
from vfs.store.local.conditions import ANY, Condition
from vfs.store.local.locks import KeyLocks
from vfs.store.local.markers import Markers
from vfs.store.local.places import Place, locate
from vfs.store.local.records import Clock, Record, Records, check_meta, etag_of, meta_for
from vfs.store.local.syscalls import clone, copy_range, read_range, write_all
from vfs.store.local.temps import Temp, Temps
from vfs.store.local.tree import Tree, lstat, open_file, patiently
from vfs.types import ETag, Key

_READ_ATTEMPTS = 3
"""How often a file is read again because someone edited it in place meanwhile."""


class Objects:
    """The objects of one tree. `records`, `locks` and `temps` lie in the store's private directory."""

    def __init__(self, tree: Tree, records: Records, locks: KeyLocks, temps: Temps, clock: Clock) -> None:
        self._tree = tree
        self._records = records
        self._locks = locks
        self._temps = temps
        self._clock = clock
        self.markers = Markers(tree, records, locks, clock)

    def head(self, key: Key) -> ObjectInfo:
        if locate(key).is_dir:
            return self.markers.head(key)
        return patiently(lambda: self._head(key))

    def _head(self, key: Key) -> ObjectInfo:
        with self.opened(key) as (fd, status):
            return self.info(key, fd, status)

    def get(self, key: Key, start: int, length: int | None, if_match: ETag | None) -> Fetched:
        if locate(key).is_dir:
            info = self.markers.head(key)
            Condition(if_match).check(key, info.etag)
            return Fetched(info, b"")
        return patiently(lambda: self._get(key, start, length, if_match))

    def _get(self, key: Key, start: int, length: int | None, if_match: ETag | None) -> Fetched:
        with self.opened(key, if_match) as (fd, opened):
            before = opened
            for _ in range(_READ_ATTEMPTS):
                rest = max(0, before.st_size - start)
                data = read_range(fd, start, rest if length is None else min(length, rest))
                after = os.fstat(fd)
                if etag_of(before) == etag_of(after):
                    return Fetched(self.info(key, fd, after), data)
                Condition(if_match).check(key, etag_of(after))
                before = after
        raise StoreUnavailable(f"{key!r} is being edited in place by another program")

    def put(self, key: Key, body: Body, meta: ObjectMeta, condition: Condition) -> ObjectInfo:
        check_meta(meta)
        if locate(key).is_dir:
            if any(len(buffer) for buffer in body):
                raise KeyRefused(f"{key!r} is a directory here and cannot have content")
            return self.markers.put(key, meta, condition)
        with self._temps.new() as temp:
            write_all(temp.fd, body)
            return self.install(temp, key, meta, condition)

    def install(self, temp: Temp, key: Key, meta: ObjectMeta, condition: Condition) -> ObjectInfo:
        """Makes a written file the object at `key`. Raises PreconditionFailed, KeyRefused."""
        place = locate(key)
        now = self._clock.tick()
        os.utime(temp.fd, ns=(now, now))
        status = os.fstat(temp.fd)
        record = Record(etag_of(status), meta)
        self._records.stage(temp.fd, record)
        self._tree.sync(temp.fd)
        try:
            patiently(lambda: self._replace(temp, place, record, condition))
        finally:
            if not temp.installed:
                self.prune(place)
        return ObjectInfo(key, status.st_size, record.etag, now, meta)

    def _replace(self, temp: Temp, place: Place, record: Record, condition: Condition) -> None:
        try:
            with self._tree.directory(place.parents, create=condition.if_match is None) as parent:
                with self._locks.hold(place.key):
                    current = self.current(parent, place)
                    condition.check(place.key, current)
                    self._records.announce(place.key, current, record)
                    temp.install(parent, place.name)
                self._tree.sync(parent)
        except FileNotFoundError:
            condition.check(place.key, None)
            raise

    def current(self, parent: int, place: Place) -> ETag | None:
        """The version a change would replace. Raises KeyRefused for what is no object and cannot be replaced."""
        status = lstat(parent, place.name)
        if status is None:
            return None
        if stat.S_ISREG(status.st_mode):
            return etag_of(status)
        if stat.S_ISDIR(status.st_mode):
            if self.markers.discard_empty(place):
                return None
            raise KeyRefused(f"{place.key!r} is a directory here")
        raise KeyRefused(f"at {place.key!r} lies something that is neither a file nor a directory")

    def delete(self, key: Key) -> None:
        place = locate(key)
        if place.is_dir:
            self.markers.delete(key)
            return
        try:
            with self._tree.directory(place.parents) as parent:
                with self._locks.hold(key):
                    status = lstat(parent, place.name)
                    if status is None or not stat.S_ISREG(status.st_mode):
                        return
                    os.unlink(place.name, dir_fd=parent)
                    self._records.forget(None, key)
                self._tree.sync(parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        self.prune(place)

    def copy(self, source: Key, target: Key, meta: ObjectMeta | None, if_match: ETag | None) -> ObjectInfo:
        if meta is not None:
            check_meta(meta)
        origin, place = locate(source), locate(target)
        if origin.is_dir != place.is_dir:
            raise KeyRefused(f"{source!r} cannot become {target!r}: one is a directory, the other a file")
        if origin.is_dir:
            return self.markers.copy(source, target, meta, if_match)
        if source == target:
            return self._annotate(place, meta, if_match)
        return patiently(lambda: self._copy(source, target, meta, if_match))

    def _copy(self, source: Key, target: Key, meta: ObjectMeta | None, if_match: ETag | None) -> ObjectInfo:
        with self.opened(source, if_match) as (fd, status), self._temps.new() as temp:
            info = self.info(source, fd, status)
            if not clone(fd, temp.fd):
                copy_range(fd, 0, status.st_size, temp.fd)
            if etag_of(os.fstat(fd)) != info.etag:
                raise PreconditionFailed(f"{source!r} was edited in place while it was copied")
            assert info.meta is not None
            return self.install(temp, target, info.meta if meta is None else meta, ANY)

    def _annotate(self, place: Place, meta: ObjectMeta | None, if_match: ETag | None) -> ObjectInfo:
        with self._locks.hold(place.key), self.opened(place.key, if_match) as (fd, status):
            if meta is not None:
                self._records.write(fd, place.key, Record(etag_of(status), meta))
            return self.info(place.key, fd, status)

    def prune(self, place: Place) -> None:
        """Removes the directories above a key that nothing holds any more."""
        self.markers.prune(place.parents)

    @contextmanager
    def opened(self, key: Key, if_match: ETag | None = None) -> Iterator[tuple[int, os.stat_result]]:
        """An open object that is no directory. Raises ObjectNotFound, PreconditionFailed."""
        place = locate(key)
        try:
            with self._tree.existing(place.parents, key) as parent:
                fd, status = open_file(parent, place.name)
        except FileNotFoundError as error:
            raise ObjectNotFound(f"no object {key!r}") from error
        try:
            if if_match is not None:
                Condition(if_match).check(key, etag_of(status))
            yield fd, status
        finally:
            os.close(fd)

    def info(self, key: Key, fd: int, status: os.stat_result) -> ObjectInfo:
        """The version that is open. Raises FileNotFoundError if its record went with it: look again then.

        Without a record of its own, a version was either edited in place, and still has its name, or replaced
        since it was opened.
        """
        etag = etag_of(status)
        records = self._records.read(fd, key)
        if records and not any(record.is_of(etag) for record in records) and not self._has_name(key, status):
            raise FileNotFoundError(f"{key!r} was replaced while it was read")
        return ObjectInfo(key, status.st_size, etag, status.st_mtime_ns, meta_for(records, etag))

    def _has_name(self, key: Key, status: os.stat_result) -> bool:
        place = locate(key)
        with self._tree.directory(place.parents) as parent:
            found = lstat(parent, place.name)
        return found is not None and found.st_ino == status.st_ino
