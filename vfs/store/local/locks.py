"""Locks on keys that hold between the threads of one process and between processes.

A check (`if_match`) and the rename that follows it must not be interleaved with another change of the same key,
also not by a second daemon on the same directory. flock(2) on a file opened for the purpose excludes both: each
open is a lock owner of its own. Keys share 64 lock files by hash, so nothing ever has to be cleaned up.

Lock order: the stripes of one `hold` are taken in ascending order, and nothing calls `hold` while it holds.
A lock is held for a few system calls, never while data is copied, and only inside a worker thread that needs
nothing else to finish: whoever waits, waits for a running thread.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from vfs.store.local.tree import Tree

STRIPES = 64


class KeyLocks:
    """Striped locks in the files `00` to `3f` of a directory."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @contextmanager
    def hold(self, *keys: str) -> Iterator[None]:
        """Excludes every other holder of these keys; `dir/` and `dir` are one key here."""
        stripes = sorted({zlib.crc32(key.rstrip("/").encode()) % STRIPES for key in keys})
        held: list[int] = []
        try:
            with self._tree.directory(()) as directory:
                for stripe in stripes:
                    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                    fd = os.open(f"{stripe:02x}", flags, 0o600, dir_fd=directory)
                    held.append(fd)
                    fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            for fd in reversed(held):
                os.close(fd)
