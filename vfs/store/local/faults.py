"""The one place where the operating system's errors become the store's."""

from __future__ import annotations

import errno

from vfs.errors import KeyRefused, StoreDenied, StoreError, StoreFull, StoreUnavailable

_CLASSES: dict[int, type[StoreError]] = {
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EACCES: StoreDenied,
    errno.EPERM: StoreDenied,
    errno.EROFS: StoreDenied,
    errno.ENAMETOOLONG: KeyRefused,
    errno.ENOTDIR: KeyRefused,
    errno.EISDIR: KeyRefused,
    errno.ENOTEMPTY: KeyRefused,
    errno.EEXIST: KeyRefused,
    errno.ELOOP: KeyRefused,
    errno.EXDEV: KeyRefused,
    errno.EINVAL: KeyRefused,
    errno.EILSEQ: KeyRefused,
}
"""EEXIST and ENOTEMPTY come from renames onto directories that hold something; EXDEV from a file system that is
mounted inside the store's directory; EINVAL and EILSEQ from file systems that forbid characters (FAT)."""


def translated(error: OSError, key: str) -> StoreError:
    """The StoreError that stands for `error`; whoever raises it keeps the cause."""
    kind = _CLASSES.get(error.errno or 0, StoreUnavailable)
    return kind(f"{key!r}: {error.strerror or error}")
