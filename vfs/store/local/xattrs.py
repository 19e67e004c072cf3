"""Records in the extended attribute `user.agentfs`: they travel with the file, whoever renames or copies it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from vfs.errors import AttributesTooBig
from vfs.store.local.records import Record, decode
from vfs.store.local.tree import Tree
from vfs.types import ETag, Key

NAME = "user.agentfs"

_ABSENT = frozenset({errno.ENODATA, errno.ENOTSUP})
_TOO_BIG = frozenset({errno.ENOSPC, errno.E2BIG, errno.ERANGE})
_SURELY_FITS = 3072
"""Bytes that one xattr holds on every file system; above, ENOSPC means the attribute and not the disk (xattr(7))."""


class XattrRecords:
    """One xattr per file or directory. setxattr(2) replaces the value in one step."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def stage(self, fd: int, record: Record) -> None:
        _set(fd, record)

    def announce(self, key: Key, current: ETag | None, record: Record) -> None:
        """Nothing to do: the record came with the file, and arrives with it."""

    def read(self, fd: int, key: Key) -> Sequence[Record]:
        try:
            record = decode(os.getxattr(fd, NAME))
        except OSError as error:
            if error.errno in _ABSENT:
                return ()
            raise
        return () if record is None else (record,)

    def write(self, fd: int, key: Key, record: Record) -> None:
        _set(fd, record)
        self._tree.sync(fd)

    def forget(self, fd: int | None, key: Key) -> None:
        if fd is None:
            return
        try:
            os.removexattr(fd, NAME)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
        self._tree.sync(fd)

    def moving(self, source: Key, target: Key) -> AbstractContextManager[None]:
        """Nothing to do: xattrs move with what they are on."""
        return nullcontext()


def _set(fd: int, record: Record) -> None:
    raw = record.encode()
    try:
        os.setxattr(fd, NAME, raw)
    except OSError as error:
        if error.errno in _TOO_BIG and len(raw) > _SURELY_FITS:
            raise AttributesTooBig(f"{len(raw)} bytes do not fit into an extended attribute") from error
        raise
