"""The parts of a LocalStore on one directory, and what its file system turned out to be able to do.

<root>/<key>                        the objects
<root>/.agentfs-store/format.json   how this store keeps metadata; what keeps an older agentfs away from it
                      tmp/          files being written
                      uploads/      multipart uploads
                      locks/        lock files
                      meta/         sidecars, where there are no xattrs
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from vfs.errors import ConfigError
from vfs.store.base import GIB, Capabilities, ObjectMeta, Usage
from vfs.store.local.listing import Listings
from vfs.store.local.locks import KeyLocks
from vfs.store.local.objects import Objects
from vfs.store.local.places import KEY_MAX, PRIVATE
from vfs.store.local.records import METADATA_MAX, Clock, Record, Records
from vfs.store.local.renames import Renames
from vfs.store.local.sidecars import SidecarRecords
from vfs.store.local.syscalls import exchange, write_all
from vfs.store.local.temps import Temps
from vfs.store.local.tree import Tree, open_file
from vfs.store.local.uploads import Uploads
from vfs.store.local.xattrs import XattrRecords
from vfs.types import ETag

SWEEP_AGE = 6 * 3600.0
"""Seconds after which a temporary file cannot belong to a running write."""

FORMAT = 1
_FORMAT_FILE = "format.json"
_LARGEST = 8 * 1024 * GIB
"""Bytes; what ext4 takes is 16 TiB with 4 KiB blocks, and nobody has tried more than this."""


class Disk:
    """Opens the directory, makes what is missing, and puts the parts together."""

    def __init__(self, root: Path, *, fsync: bool, native: bool, xattr: bool) -> None:
        try:
            self.root = _opened_root(root)
            self._tree = Tree(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fsync=fsync)
            private = self._tree.subtree(PRIVATE)
            names = ("tmp", "uploads", "locks", "meta")
            temporary, uploading, locking, meta = (private.subtree(name) for name in names)
            self._owned = [self._tree, private, temporary, uploading, locking, meta]
            self.temps = Temps(temporary)
            self.temps.sweep(SWEEP_AGE)
            locks = KeyLocks(locking)
            with locks.hold(PRIVATE):
                pass  # a file system without locks (some NFS) must be noticed here, not at the first write
            xattr = self._settle_format(private, xattr)
            records: Records
            if xattr:
                records = XattrRecords(self._tree)
            else:
                records = SidecarRecords(self._tree, meta, self.temps)
            can_exchange = native and xattr and self._can_exchange()
        except OSError as error:
            raise ConfigError(
                f"{root} cannot be used as a store: {error.strerror}; choose a directory that you may write to"
            ) from error
        clock = Clock()
        self.capabilities = _capabilities(native=native, exchange=can_exchange)
        self.objects = Objects(self._tree, records, locks, self.temps, clock)
        self.listings = Listings(self._tree, self.objects, metadata=native)
        self.uploads = Uploads(uploading, self.objects, self.temps, clock, self.capabilities)
        self.renames = Renames(self._tree, self.objects, records, locks)

    def close(self) -> None:
        for tree in self._owned:
            tree.close()

    def usage(self) -> Usage:
        with self._tree.directory(()) as root:
            status = os.statvfs(root)
        return Usage(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)

    def _settle_format(self, private: Tree, xattr: bool) -> bool:
        """Whether metadata are xattrs. What the store began with stays: mixed, half of it would be invisible."""
        possible = self._can_xattr()
        with private.directory(()) as directory:
            known = _read_format(directory)
            if known is None:
                known = {"format": FORMAT, "metadata": "xattr" if xattr and possible else "sidecar"}
                with self.temps.new() as temp:
                    write_all(temp.fd, [json.dumps(known).encode()])
                    private.sync(temp.fd)
                    temp.install(directory, _FORMAT_FILE)
                private.sync(directory)
        if known.get("format") != FORMAT:
            raise ConfigError(f"{self.root} was made by a newer agentfs: upgrade this one")
        if known["metadata"] == "xattr" and not (xattr and possible):
            reason = "its file system has none" if xattr else "xattr=no was asked for"
            raise ConfigError(
                f"{self.root} keeps metadata in extended attributes, but {reason}: "
                "copy the store with `rsync -aX`, or use a new directory"
            )
        return bool(known["metadata"] == "xattr")

    def _can_xattr(self) -> bool:
        with self.temps.new() as temp:
            try:
                XattrRecords(self._tree).stage(temp.fd, Record(ETag(""), ObjectMeta()))
            except OSError:
                return False
        return True

    def _can_exchange(self) -> bool:
        with self.temps.new() as one, self.temps.new() as other:
            try:
                exchange(one.directory, one.name, other.directory, other.name)
            except OSError:
                return False
        return True


def _opened_root(root: Path) -> Path:
    """The directory without symlinks on its way, made with mode 0700 if missing."""
    missing = []
    path = root
    while not path.exists():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)
    if not root.is_dir():
        raise ConfigError(f"{root} is not a directory: choose one for the store, or remove the file")
    return root.resolve()


def _read_format(directory: int) -> dict[str, object] | None:
    try:
        fd, status = open_file(directory, _FORMAT_FILE)
    except FileNotFoundError:
        return None
    try:
        known = json.loads(os.pread(fd, status.st_size, 0))
    finally:
        os.close(fd)
    return known if isinstance(known, dict) else None


def _capabilities(*, native: bool, exchange: bool) -> Capabilities:
    return Capabilities(
        rename=native,
        exchange=exchange,
        list_metadata=native,
        late_meta=True,
        firm_prefixes=False,
        min_part=1,
        max_put=_LARGEST,
        max_copy=_LARGEST,
        max_object=_LARGEST,
        max_key=KEY_MAX,
        max_metadata=METADATA_MAX,
    )
