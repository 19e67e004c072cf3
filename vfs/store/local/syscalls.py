"""System calls that Python does not wrap, or wraps without the fallbacks they need."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Sequence

from vfs.types import Buffer

_RENAME_EXCHANGE = 2
"""linux/fs.h"""

_FICLONE = 0x40049409
"""linux/fs.h: _IOW(0x94, 9, int)"""

_IOV = 512
"""Buffers in one writev(2); the kernel takes 1024."""

_SLICE = 1 << 20
"""Bytes read and written at once where the kernel cannot copy by itself."""

_COPY = 1 << 26
"""Bytes in one copy_file_range(2): it cannot be interrupted."""

_NO_KERNEL_COPY = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.ETXTBSY}
)

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one_dir: int, one: str, other_dir: int, other: str) -> None:
    """Two names change places (renameat2(2)). Raises OSError: ENOSYS, EINVAL where that is impossible."""
    call = getattr(_libc, "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    arguments = (one_dir, os.fsencode(one), other_dir, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE))
    if call(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_all(fd: int, body: Sequence[Buffer]) -> int:
    """Writes the buffers at the file's position, without joining them. Returns their bytes."""
    total = 0
    pending = [memoryview(buffer).cast("B") for buffer in body if len(buffer)]
    pending.reverse()
    while pending:
        batch = pending[: -_IOV - 1 : -1]
        written = os.writev(fd, batch)
        total += written
        while pending and written >= len(pending[-1]):
            written -= len(pending.pop())
        if written:
            pending[-1] = pending[-1][written:]
    return total


def read_range(fd: int, start: int, length: int) -> bytes:
    """Bytes [start, start+length) as far as the file has them: one buffer, as a rule from one pread(2)."""
    data = os.pread(fd, length, start)
    pieces = [data]
    done = len(data)
    while data and done < length:
        data = os.pread(fd, length - done, start + done)
        pieces.append(data)
        done += len(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def clone(source: int, target: int) -> bool:
    """Shares all extents of `source` with the empty file `target`; False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_KERNEL_COPY:
            return False
        raise
    return True


def copy_range(source: int, start: int, length: int, target: int) -> int:
    """Appends bytes of `source` at the position of `target`, in the kernel if it can. Returns how many came."""
    done = 0
    while done < length:
        count = _copy_some(source, start + done, min(length - done, _COPY), target)
        if count == 0:
            break
        done += count
    return done


def _copy_some(source: int, start: int, length: int, target: int) -> int:
    try:
        return os.copy_file_range(source, target, length, start)
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    return write_all(target, [os.pread(source, min(length, _SLICE), start)])
