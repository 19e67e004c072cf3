"""Metadata of an object together with the version it was written for, and where such records are kept.

A record lies beside a file that others may edit. It says for which bytes it was written, so that a reader can
tell: if the file was edited behind our back, owner, mode and the rest still hold, but the recorded times do
not, and the file's own mtime speaks.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from vfs.errors import AttributesTooBig, StoreError
from vfs.store.base import ObjectMeta
from vfs.types import ETag, Key

METADATA_MAX = 2048
"""Bytes of user metadata, names and values together: S3's limit, and within the 4 KB of an ext4 xattr."""

TIMES = frozenset({"mtime", "ctime", "atime"})


@dataclass(frozen=True, slots=True)
class Record:
    """What was stored beside the content `etag`."""

    etag: ETag
    meta: ObjectMeta

    def is_of(self, etag: ETag) -> bool:
        """True if it was written for the content of `etag`.

        Inode numbers do not count, so that a directory restored from a backup keeps its times.
        """
        return self.etag.rpartition("-")[0] == etag.rpartition("-")[0]

    def encode(self) -> bytes:
        return json.dumps(self.document(), separators=(",", ":")).encode()

    def document(self) -> dict[str, Any]:
        return {"etag": self.etag, "type": self.meta.content_type, "metadata": dict(self.meta.metadata)}


class Records(Protocol):
    """Where records are kept. All calls are synchronous; the caller holds the key's lock where it changes one."""

    def stage(self, fd: int, record: Record) -> None:
        """Prepares a file that has no name yet."""

    def announce(self, key: Key, current: ETag | None, record: Record) -> None:
        """The file for `record` is about to take the place of the version `current`, or may fail to."""

    def read(self, fd: int, key: Key) -> Sequence[Record]:
        """All records that may speak of the open file or directory, oldest first."""

    def write(self, fd: int, key: Key, record: Record) -> None:
        """Replaces the record of a file or directory that stays what it is. Durable."""

    def forget(self, fd: int | None, key: Key) -> None:
        """Removes the record of what is gone (`fd` None), or of a directory that stays."""

    def moving(self, source: Key, target: Key) -> AbstractContextManager[None]:
        """Around the rename of a directory: also a crash in between must not part it from its records."""


def decode(raw: bytes) -> Record | None:
    """The record in a xattr; None for what another program may have put there."""
    try:
        return from_document(json.loads(raw))
    except (ValueError, RecursionError):
        return None


def from_document(document: Any) -> Record | None:
    match document:
        case {"etag": str(etag), "type": str(content_type), "metadata": dict(metadata)}:
            entries = {str(name): str(value) for name, value in metadata.items()}
            return Record(ETag(etag), ObjectMeta(entries, content_type))
    return None


def check_meta(meta: ObjectMeta) -> ObjectMeta:
    """Raises AttributesTooBig over `METADATA_MAX`, StoreError for what no HTTP header could carry."""
    size = 0
    for name, value in meta.metadata.items():
        if not (name + value).isascii() or not value.isprintable() or name != name.lower():
            raise StoreError(f"metadata {name!r} is not a lower-case name with a printable ASCII value")
        size += len(name) + len(value)
    if size > METADATA_MAX:
        raise AttributesTooBig(f"{size} bytes of metadata; the limit is {METADATA_MAX}")
    return meta


def etag_of(status: os.stat_result) -> ETag:
    """The version of a plain file: mtime in nanoseconds, size and inode number, in hex.

    Every file we write gets an mtime of its own (`Clock`): the kernel's is some 4 ms coarse, and inode numbers
    are reused, so that two files put in quick succession would look the same.
    """
    return ETag(f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}")


def meta_for(records: Sequence[Record], etag: ETag) -> ObjectMeta:
    """What the records say about the version `etag`; without times if they speak of other bytes."""
    if not records:
        return ObjectMeta()
    for record in reversed(records):
        if record.is_of(etag):
            return record.meta
    last = records[-1].meta
    kept = {name: value for name, value in last.metadata.items() if name not in TIMES}
    return ObjectMeta(kept, last.content_type)


class Clock:
    """The time of day in nanoseconds, no value given twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        with self._lock:
            self._last = max(time.time_ns(), self._last + 1)
            return self._last


def marker_etag(now_ns: int) -> ETag:
    """Version of a directory marker: kept in its record, for a directory's mtime changes with its entries."""
    return ETag(f"{now_ns:x}-0-d")


def marker_modified(etag: ETag) -> int:
    """Nanoseconds since the epoch at which the marker was put; 0 if another program made up the etag."""
    try:
        return int(etag.split("-")[0], 16)
    except ValueError:
        return 0
