"""Files that are being written, before they get their name."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from vfs.store.local.tree import Tree, open_directory


@dataclass(slots=True)
class Temp:
    """An open file without a key. `installed` once a rename has given it one."""

    fd: int
    directory: int
    name: str
    installed: bool = False

    def install(self, directory: int, name: str) -> None:
        """Takes the place of whatever file has that name, in one step."""
        os.rename(self.name, name, src_dir_fd=self.directory, dst_dir_fd=directory)
        self.installed = True


class Temps:
    """New files in a directory of the store's file system, so that rename(2) can move them anywhere in it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @contextmanager
    def new(self) -> Iterator[Temp]:
        """A fresh file, open for reading and writing inside the `with`; removed unless it was installed."""
        with self._tree.directory(()) as directory:
            name = secrets.token_hex(12)
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
            with self._held(Temp(fd, directory, name)) as temp:
                yield temp

    @contextmanager
    def new_directory(self) -> Iterator[Temp]:
        """The same for a directory."""
        with self._tree.directory(()) as directory:
            name = secrets.token_hex(12)
            os.mkdir(name, 0o700, dir_fd=directory)
            with self._held(Temp(open_directory(directory, name), directory, name)) as temp:
                yield temp

    @contextmanager
    def _held(self, temp: Temp) -> Iterator[Temp]:
        try:
            yield temp
        finally:
            os.close(temp.fd)
            if not temp.installed:
                with suppress(FileNotFoundError):
                    remove_tree(temp.directory, temp.name)

    def discard(self, parent: int, name: str) -> None:
        """Removes a directory in two steps, so that it is whole until it is gone from where it was."""
        with self._tree.directory(()) as directory:
            hidden = secrets.token_hex(12)
            os.rename(name, hidden, src_dir_fd=parent, dst_dir_fd=directory)
            remove_tree(directory, hidden)

    def sweep(self, older_than: float) -> int:
        """Removes what crashes left here more than `older_than` seconds ago. Returns how many."""
        removed = 0
        limit = time.time() - older_than
        with self._tree.directory(()) as directory:
            for name in os.listdir(directory):
                with suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=directory, follow_symlinks=False).st_ctime < limit:
                        remove_tree(directory, name)
                        removed += 1
        return removed


def remove_tree(parent: int, name: str) -> None:
    """Removes a file, or a directory of files, of the store's own."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        fd = open_directory(parent, name)
        try:
            for inner in os.listdir(fd):
                remove_tree(fd, inner)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=parent)
