"""Every error agentfs raises on purpose; the errno a program sees is an attribute of the class.

One place turns foreign exceptions into these (each store, at its boundary) and one place turns these
into a FUSE reply (`vfs.fuse.fence`). The code between raises and lets pass.
"""

from __future__ import annotations

import errno


class VfsError(Exception):
    """Base of the family. `errno` is what the calling program gets."""

    errno: int = errno.EIO


class NotFound(VfsError):
    errno = errno.ENOENT


class Exists(VfsError):
    errno = errno.EEXIST


class NotDirectory(VfsError):
    errno = errno.ENOTDIR


class IsDirectory(VfsError):
    errno = errno.EISDIR


class NotEmpty(VfsError):
    errno = errno.ENOTEMPTY


class NotPermitted(VfsError):
    """The operation is refused whoever asks, e.g. creating a third directory in the root."""

    errno = errno.EPERM


class ReadOnly(VfsError):
    errno = errno.EROFS


class InvalidArgument(VfsError):
    errno = errno.EINVAL


class NameTooLong(VfsError):
    errno = errno.ENAMETOOLONG


class NameNotText(VfsError):
    """A name that is not valid UTF-8 cannot be part of an object key."""

    errno = errno.EILSEQ


class NoAttribute(VfsError):
    errno = errno.ENODATA


class NotSupported(VfsError):
    errno = errno.EOPNOTSUPP


class AttributesTooBig(VfsError):
    """The extended attributes do not fit beside the object (2 KB on S3)."""

    errno = errno.ENOSPC


class FileTooBig(VfsError):
    errno = errno.EFBIG


class BadHandle(VfsError):
    errno = errno.EBADF


class Stale(VfsError):
    """The object was replaced behind an open handle that still needed the old bytes."""

    errno = errno.ESTALE


class TooManyLinks(VfsError):
    errno = errno.EMLINK


class ConfigError(VfsError):
    """Bad input from the user: the message is one line that names the place and says what to do."""

    errno = errno.EINVAL


class StoreError(VfsError):
    """The object store refused or could not be asked."""


class ObjectNotFound(StoreError):
    errno = errno.ENOENT


class UploadNotFound(StoreError):
    """The multipart upload is unknown: completed, aborted, or never begun."""


class PreconditionFailed(StoreError):
    """The object is not the version (`if_match`), or not absent (`if_absent`), as the caller required."""

    errno = errno.ESTALE


class KeyRefused(StoreError):
    """The store cannot hold this key (length, characters, a file where a directory is needed)."""

    errno = errno.EINVAL


class StoreDenied(StoreError):
    errno = errno.EACCES


class StoreFull(StoreError):
    errno = errno.ENOSPC


class StoreUnavailable(StoreError):
    """No answer, or an answer that says "later". Worth another try.

    `retry_after` is how many seconds the store asked to be left alone. `uncertain` is False only where it is
    known that nothing was applied, e.g. no connection came about. Subclasses keep this constructor.
    """

    def __init__(self, text: str = "", *, retry_after: float | None = None, uncertain: bool = True) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.uncertain = uncertain


class StoreThrottled(StoreUnavailable):
    """The store is there and asks for fewer requests (SlowDown, 429)."""


class StoreTimeout(StoreUnavailable):
    """The deadline passed. Whether the operation was applied is unknown."""


class StoreAway(StoreUnavailable):
    """The store has not answered for a while and was not asked (`vfs.store.breaker`).

    `hopeless`: it has been away for so long that whoever only wants to know something should not wait.
    """

    hopeless: bool = False


def leading(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to report of several: the first VfsError, else the first bug, else the first of all."""
    leaves: list[BaseException] = []
    queue: list[BaseException] = [group]
    while queue:
        error = queue.pop(0)
        if isinstance(error, BaseExceptionGroup):
            queue.extend(error.exceptions)
        else:
            leaves.append(error)
    bugs = [error for error in leaves if isinstance(error, Exception)]
    return next((error for error in bugs if isinstance(error, VfsError)), (bugs or leaves)[0])
