"""The value types that every layer shares. All immutable, none with behaviour beyond its own fields."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NewType

Ino = NewType("Ino", int)
"""Inode number: counted up from 1 (the root), never reused while the mount lives."""

Fh = NewType("Fh", int)
"""File handle: one per open(2) or opendir(2)."""

Key = NewType("Key", str)
"""Object key without the store's own prefix: `users/u1/workspace/a.txt`. Directories end in `/`."""

ETag = NewType("ETag", str)
"""Opaque version tag of an object's content, without quotes."""

Buffer = bytes | bytearray | memoryview

BLOCK = 512
"""Unit of st_blocks, bytes (stat(2))."""

PREFERRED_IO = 128 * 1024
"""st_blksize, bytes: what one FUSE read carries unless the mount's read-ahead is raised."""


_NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})
"""Shared by all files that have none."""


@dataclass(frozen=True, slots=True)
class Attr:
    """What stat(2) shows, except inode number and link count, which belong to the mount.

    `mode` has type and permission bits; times are nanoseconds since the epoch; `size` is bytes.
    """

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int
    rdev: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=lambda: _NO_XATTRS)

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made the system call (FUSE request header)."""

    uid: int
    gid: int
    pid: int
    umask: int = 0
