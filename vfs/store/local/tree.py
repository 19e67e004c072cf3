"""A directory that is walked one component at a time and never left.

Keys come from programs, and desktop users may put symlinks into the store's directory. A check with realpath(3)
would be outdated by the time the path is used. So every path is walked with openat(2) and O_NOFOLLOW, from a
descriptor of the root that stays open, and the last step is made relative to the descriptor of the parent: what
was checked is what is used, whatever is renamed or linked meanwhile. The open root also keeps the file system
under it from being unmounted, after which the store would seem to be empty.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from vfs.errors import ObjectNotFound, StoreUnavailable
from vfs.types import Key

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""O_NONBLOCK: opening a FIFO that someone left here must not wait for its writer."""

_ATTEMPTS = 100
"""How often a parent directory may vanish under a change (deletes prune empty ones) before it gives up."""

T = TypeVar("T")


class Tree:
    """Directories below `root`, a descriptor that the tree owns from now on."""

    def __init__(self, root: int, *, fsync: bool) -> None:
        self._root = root
        self._fsync = fsync

    def close(self) -> None:
        """A call that comes all the same fails with EBADF, and meets no other file that got the number."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def sync(self, fd: int) -> None:
        """Makes a file, or the entries of a directory, survive a loss of power."""
        if self._fsync:
            os.fsync(fd)

    def subtree(self, name: str) -> Tree:
        """A tree of its own for one directory in the root, which is made if missing."""
        with self.directory((name,), create=True) as fd:
            return Tree(os.dup(fd), fsync=self._fsync)

    @contextmanager
    def directory(self, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the directory, open inside the `with`.

        Raises FileNotFoundError, and NotADirectoryError where a component is a file or a symlink. With `create`
        what is missing is made; FileNotFoundError then means that a delete pruned it at once (see `patiently`).
        """
        fd = self._open(parts, create)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def existing(self, parts: Sequence[str], key: Key) -> Iterator[int]:
        """As `directory`, for an object that must exist: raises ObjectNotFound."""
        try:
            fd = self._open(parts, create=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFound(f"no object {key!r}") from error
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self, parts: Sequence[str], create: bool) -> int:
        fd = os.open(".", _DIRECTORY, dir_fd=self._root)
        for part in parts:
            try:
                inner = self._enter(fd, part, create)
            finally:
                os.close(fd)
            fd = inner
        return fd

    def _enter(self, fd: int, part: str, create: bool) -> int:
        try:
            return open_directory(fd, part)
        except FileNotFoundError:
            if not create:
                raise
        try:
            os.mkdir(part, 0o700, dir_fd=fd)
        except FileExistsError:
            pass
        else:
            self.sync(fd)
        return open_directory(fd, part)


def open_directory(parent: int, name: str) -> int:
    """A descriptor of one directory. Raises FileNotFoundError, NotADirectoryError (also for a symlink)."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


def open_file(parent: int, name: str) -> tuple[int, os.stat_result]:
    """A readable descriptor and the status of a plain file; FileNotFoundError for all else of that name."""
    try:
        fd = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        if is_foreign(parent, name):
            raise FileNotFoundError(f"{name!r} is not a regular file") from error
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise FileNotFoundError(f"{name!r} is not a regular file")
    return fd, status


def lstat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_foreign(parent: int, name: str) -> bool:
    """A symlink, FIFO, socket or device: someone else's, neither an object nor a prefix."""
    status = lstat(parent, name)
    return status is not None and not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)


def patiently(step: Callable[[], T]) -> T:
    """Repeats a change whose parent directory was pruned between making and using it."""
    for _ in range(_ATTEMPTS):
        try:
            return step()
        except FileNotFoundError as error:
            last = error
    raise StoreUnavailable("the directory kept vanishing while a file was put into it") from last
