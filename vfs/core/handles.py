"""Open files and directories: one handle per open(2) or opendir(2)."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass

from vfs.core.inodes import Inode
from vfs.data.content import Content
from vfs.data.reader import Reader
from vfs.errors import BadHandle, VfsError
from vfs.meta.listing import Listed, Listing
from vfs.types import Fh


class TooManyOpen(VfsError):
    """The bound on open handles of one mount is reached."""

    errno = 23  # ENFILE


class FileHandle:
    """An open file. `content` is the inode's, and stays when the inode loses its name."""

    __slots__ = ("appends", "can_read", "can_write", "content", "fh", "inode", "reader", "uid")

    def __init__(self, fh: Fh, inode: Inode, content: Content, reader: Reader, flags: int, uid: int) -> None:
        self.fh = fh
        self.inode = inode
        self.content = content
        self.reader = reader
        self.uid = uid
        """Who opened it: writes carry no caller, and root's writes keep setuid bits."""
        access = flags & os.O_ACCMODE
        self.can_read = access in (os.O_RDONLY, os.O_RDWR)
        self.can_write = access in (os.O_WRONLY, os.O_RDWR)
        self.appends = bool(flags & os.O_APPEND)

    def __repr__(self) -> str:
        return f"<FileHandle {self.fh} {self.inode} {'rw' if self.can_write else 'ro'}>"


class DirectoryHandle:
    """An open directory, listed page by page as it is read.

    INVARIANT: `names` only grows, so that an offset means the same name as long as the listing lasts.
    """

    __slots__ = ("fh", "gone", "inode", "kinds", "listed", "listing", "moved", "names", "own")

    def __init__(self, fh: Fh, inode: Inode) -> None:
        self.fh = fh
        self.inode = inode
        self.names: list[str] = []
        self.listing: Listing | None = None
        self.listed: dict[str, Listed] = {}
        """The page that was fetched last."""
        self.moved: set[str] = set()
        """Names that were shown before the directory was renamed under the listing."""
        self.kinds: dict[str, bool] = {}
        """Every name that a page showed -> whether it is a directory."""
        self.own: set[str] = set()
        """Names that only this mount knew when the listing began, and no page showed yet."""
        self.gone: set[str] = set()
        """Names that went away since the listing began."""


@dataclass(frozen=True, slots=True)
class HandleStatistics:
    """Handles open now."""

    files: int
    directories: int


class Handles:
    """INVARIANT: a handle number is given once. At most `limit` are open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers = itertools.count(1)
        self._files: dict[Fh, FileHandle] = {}
        self._directories: dict[Fh, DirectoryHandle] = {}

    def statistics(self) -> HandleStatistics:
        return HandleStatistics(len(self._files), len(self._directories))

    def reserve(self) -> Fh:
        """A fresh number. Raises TooManyOpen."""
        if len(self._files) + len(self._directories) >= self._limit:
            raise TooManyOpen(f"{self._limit} files are open on this mount")
        return Fh(next(self._numbers))

    def add_file(self, handle: FileHandle) -> None:
        self._files[handle.fh] = handle
        handle.inode.handles += 1
        handle.inode.writers += handle.can_write

    def file(self, fh: Fh) -> FileHandle:
        try:
            return self._files[fh]
        except KeyError:
            raise BadHandle(f"file handle {fh}") from None

    def remove_file(self, fh: Fh) -> FileHandle:
        handle = self.file(fh)
        del self._files[fh]
        handle.inode.handles -= 1
        handle.inode.writers -= handle.can_write
        return handle

    def add_directory(self, inode: Inode) -> DirectoryHandle:
        handle = DirectoryHandle(self.reserve(), inode)
        self._directories[handle.fh] = handle
        inode.handles += 1
        inode.readers = (*inode.readers, handle.gone)
        return handle

    def directory(self, fh: Fh) -> DirectoryHandle:
        try:
            return self._directories[fh]
        except KeyError:
            raise BadHandle(f"directory handle {fh}") from None

    def remove_directory(self, fh: Fh) -> DirectoryHandle:
        handle = self.directory(fh)
        del self._directories[fh]
        handle.inode.handles -= 1
        handle.inode.readers = tuple(gone for gone in handle.inode.readers if gone is not handle.gone)
        return handle
