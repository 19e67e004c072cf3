"""Records in files of their own, for file systems without extended attributes (FAT, 9p, some NFS and FUSE).

The key `a/b/c` has its sidecar at `meta/d/a/d/b/f/c`: directories below `d`, files below `f`, the directory's own
record in `own`. So no name grows beyond what the file system takes, `a` and `a.json/x` cannot collide, and the
sidecars of a whole directory move with one rename.

Crash safety: a sidecar is replaced before its object is, and holds the record of the old version beside that of
the new one. Whichever version a crash leaves behind finds its own by etag. The next replacement drops the older.
A directory and its sidecars cannot be renamed in one step: the pair of keys is written down before, and whoever
finds that note (the next start, the next rename) finishes the second half.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from vfs.store.local.places import locate
from vfs.store.local.records import Record, from_document
from vfs.store.local.syscalls import write_all
from vfs.store.local.temps import Temps, remove_tree
from vfs.store.local.tree import Tree, patiently
from vfs.types import ETag, Key

_NOTE = "renaming.json"
_NOTE_LOCK = "renaming.lock"


class SidecarRecords:
    """`data` is the tree of objects, `meta` that of the sidecars, `temps` lies on the same file system."""

    def __init__(self, data: Tree, meta: Tree, temps: Temps) -> None:
        self._data = data
        self._meta = meta
        self._temps = temps
        with self._noted() as directory:
            self._finish(directory)

    def stage(self, fd: int, record: Record) -> None:
        """Nothing to do: the record needs the key, see `announce`."""

    def announce(self, key: Key, current: ETag | None, record: Record) -> None:
        kept = [old for old in self._load(key) if old.etag == current]
        self._store(key, [*kept, record])

    def read(self, fd: int, key: Key) -> Sequence[Record]:
        return self._load(key)

    def write(self, fd: int, key: Key, record: Record) -> None:
        self._store(key, [record])

    def forget(self, fd: int | None, key: Key) -> None:
        path = _path(key)
        try:
            with self._meta.directory(path[:-1]) as parent:
                os.unlink(path[-1], dir_fd=parent)
                self._meta.sync(parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        self._prune(path[:-1])

    @contextmanager
    def moving(self, source: Key, target: Key) -> Iterator[None]:
        with self._noted() as directory:
            self._finish(directory)
            patiently(lambda: self._make(_home(source)))
            self._replace(directory, _NOTE, json.dumps({"source": source, "target": target}).encode())
            moved = False
            try:
                yield
                moved = True
            finally:
                if moved:
                    self._move(_home(source), _home(target))
                self._drop_note(directory)

    def _load(self, key: Key) -> list[Record]:
        path = _path(key)
        try:
            with self._meta.directory(path[:-1]) as parent, _opened(parent, path[-1]) as fd:
                documents = json.loads(os.read(fd, os.fstat(fd).st_size))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return []
        return [record for record in map(from_document, documents) if record is not None]

    def _store(self, key: Key, records: Sequence[Record]) -> None:
        path = _path(key)
        raw = json.dumps([record.document() for record in records]).encode()

        def step() -> None:
            with self._meta.directory(path[:-1], create=True) as parent:
                self._replace(parent, path[-1], raw)

        patiently(step)

    def _replace(self, directory: int, name: str, raw: bytes) -> None:
        with self._temps.new() as temp:
            write_all(temp.fd, [raw])
            self._meta.sync(temp.fd)
            temp.install(directory, name)
        self._meta.sync(directory)

    def _make(self, path: Sequence[str]) -> None:
        with self._meta.directory(path, create=True):
            pass

    def _prune(self, path: Sequence[str]) -> None:
        while path:
            try:
                with self._meta.directory(path[:-1]) as parent:
                    os.rmdir(path[-1], dir_fd=parent)
            except OSError:  # not empty, or gone already: either way there is nothing more to prune
                return
            path = path[:-1]

    @contextmanager
    def _noted(self) -> Iterator[int]:
        """The directory of the note, for one process and thread at a time."""
        with self._meta.directory(()) as directory:
            fd = os.open(_NOTE_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield directory
            finally:
                os.close(fd)

    def _finish(self, directory: int) -> None:
        """Does what a crash kept `moving` from doing, if there is a note of it."""
        try:
            with _opened(directory, _NOTE) as fd:
                note = json.loads(os.read(fd, os.fstat(fd).st_size))
        except FileNotFoundError:
            return
        source, target = Key(note["source"]), Key(note["target"])
        if self._exists(self._data, locate(target).parts) and not self._exists(
            self._data, locate(source).parts
        ):
            self._move(_home(source), _home(target))
        self._drop_note(directory)

    def _drop_note(self, directory: int) -> None:
        os.unlink(_NOTE, dir_fd=directory)
        self._meta.sync(directory)

    def _exists(self, tree: Tree, path: Sequence[str]) -> bool:
        try:
            with tree.directory(path):
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _move(self, source: Sequence[str], target: Sequence[str]) -> None:
        if not self._exists(self._meta, source):
            return
        with (
            self._meta.directory(source[:-1]) as old,
            self._meta.directory(target[:-1], create=True) as new,
        ):
            with suppress(FileNotFoundError):
                remove_tree(new, target[-1])
            os.rename(source[-1], target[-1], src_dir_fd=old, dst_dir_fd=new)
            self._meta.sync(new)
            self._meta.sync(old)
        self._prune(source[:-1])


@contextmanager
def _opened(parent: int, name: str) -> Iterator[int]:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def _home(key: Key) -> list[str]:
    """Where the sidecars of a directory and of all below it lie."""
    return [step for part in key.rstrip("/").split("/") for step in ("d", part)]


def _path(key: Key) -> list[str]:
    place = locate(key)
    above = [step for part in place.parents for step in ("d", part)]
    return [*above, "d", place.name, "own"] if place.is_dir else [*above, "f", place.name]
