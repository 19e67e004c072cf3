"""Directories: the object `dir/` is the directory's record, and the directory itself is only a prefix.

A directory without a record is no object. It was made as the parent of a file (and goes with its last file, as
prefixes do in S3), or by someone who works in the store's directory with other programs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from vfs.errors import ObjectNotFound
from vfs.store.base import ObjectInfo, ObjectMeta
from vfs.store.local.conditions import ANY, Condition
from vfs.store.local.locks import KeyLocks
from vfs.store.local.places import Place, locate
from vfs.store.local.records import Clock, Record, Records, marker_etag, marker_modified
from vfs.store.local.tree import Tree, patiently
from vfs.types import ETag, Key


class Markers:
    """The objects whose keys end in `/`."""

    def __init__(self, tree: Tree, records: Records, locks: KeyLocks, clock: Clock) -> None:
        self._tree = tree
        self._records = records
        self._locks = locks
        self._clock = clock

    def head(self, key: Key) -> ObjectInfo:
        with self._tree.existing(locate(key).parts, key) as fd:
            return self._existing(fd, key)

    def info(self, fd: int, key: Key) -> ObjectInfo | None:
        """The marker of an open directory; None where it has none."""
        records = self._records.read(fd, key)
        if not records:
            return None
        etag = records[-1].etag
        return ObjectInfo(key, 0, etag, marker_modified(etag), records[-1].meta)

    def put(self, key: Key, meta: ObjectMeta, condition: Condition) -> ObjectInfo:
        """Under the key's lock also where the directory exists: `prune` must not take it away in between."""
        return patiently(lambda: self._put(locate(key), meta, condition))

    def _put(self, place: Place, meta: ObjectMeta, condition: Condition) -> ObjectInfo:
        key = place.key
        try:
            with (
                self._locks.hold(key),
                self._tree.directory(place.parts, create=condition.if_match is None) as fd,
            ):
                current = self.info(fd, key)
                condition.check(key, current.etag if current else None)
                self._records.write(fd, key, Record(marker_etag(self._clock.tick()), meta))
                return self._existing(fd, key)
        except FileNotFoundError:
            condition.check(key, None)
            raise

    def copy(self, source: Key, target: Key, meta: ObjectMeta | None, if_match: ETag | None) -> ObjectInfo:
        if source != target:
            found = self.head(source)
            Condition(if_match).check(source, found.etag)
            assert found.meta is not None
            return self.put(target, found.meta if meta is None else meta, ANY)
        with self._locks.hold(source), self._tree.existing(locate(source).parts, source) as fd:
            found = self._existing(fd, source)
            Condition(if_match).check(source, found.etag)
            if meta is not None:
                self._records.write(fd, source, Record(found.etag, meta))
            return self._existing(fd, source)

    def delete(self, key: Key) -> None:
        """Removes the record; the directory too if nothing lies in it."""
        try:
            with self._locks.hold(key), self._tree.directory(locate(key).parts) as fd:
                self._records.forget(fd, key)
        except (FileNotFoundError, NotADirectoryError):
            return
        self.prune(locate(key).parts)

    def prune(self, parts: Sequence[str]) -> None:
        """Removes a directory that is empty and has no record, then its parent if that is so, and so on.

        Not fsynced: an empty directory that a crash brings back stands for no object.
        """
        while parts:
            place = locate(Key("/".join(parts) + "/"))
            try:
                with self._locks.hold(place.key):
                    if not self.discard_empty(place):
                        return
            except OSError:  # gone already, or not ours to touch: pruning is never worth an error
                return
            parts = parts[:-1]

    def discard_empty(self, place: Place) -> bool:
        """Removes the place's directory if it is empty and has no record. The caller holds the key's lock."""
        key = Key("/".join(place.parts) + "/")
        with self._tree.directory(place.parts) as fd:
            if self._records.read(fd, key):
                return False
        try:
            with self._tree.directory(place.parents) as parent:
                os.rmdir(place.name, dir_fd=parent)
        except OSError:  # something lies in it
            return False
        return True

    def _existing(self, fd: int, key: Key) -> ObjectInfo:
        info = self.info(fd, key)
        if info is None:
            raise ObjectNotFound(f"no object {key!r}: the directory is only a prefix")
        return info
