"""The Linux system calls that Python's `os` does not offer. All raise OSError as `os` does."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2

FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100

_libc = ctypes.CDLL(None, use_errno=True)

PathLike = str | bytes | Path


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


def renameat2(old: PathLike, new: PathLike, flags: int) -> None:
    """rename(2) with RENAME_ flags."""
    _check(_libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags), new)


def utimensat(path: PathLike, atime_ns: int, mtime_ns: int) -> None:
    """Sets both times of the name itself; UTIME_NOW and UTIME_OMIT are understood in place of nanoseconds."""
    times = (_Timespec * 2)(_timespec(atime_ns), _timespec(mtime_ns))
    _check(_libc.utimensat(_AT_FDCWD, os.fsencode(path), times, _AT_SYMLINK_NOFOLLOW), path)


def lchmod(path: PathLike, mode: int) -> None:
    """fchmodat(2) with AT_SYMLINK_NOFOLLOW."""
    _check(_libc.fchmodat(_AT_FDCWD, os.fsencode(path), mode, _AT_SYMLINK_NOFOLLOW), path)


def fallocate(descriptor: int, mode: int, start: int, length: int) -> None:
    """fallocate(2), without the fallback of posix_fallocate(3)."""
    call = _libc.fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
    _check(call(descriptor, mode, start, length), f"descriptor {descriptor}")


def syncfs(descriptor: int) -> None:
    """syncfs(2): asks the kernel to write the whole file system of this descriptor."""
    _check(_libc.syncfs(descriptor), f"descriptor {descriptor}")


def _timespec(nanoseconds: int) -> _Timespec:
    if nanoseconds in (UTIME_NOW, UTIME_OMIT):
        return _Timespec(0, nanoseconds)
    return _Timespec(*divmod(nanoseconds, 10**9))


def _check(result: int, subject: PathLike) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(subject))
