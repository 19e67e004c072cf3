"""What becomes of two versions when another writer stored one since ours was opened: neither is dropped silently.

appends      ours go to the end of the other version: every line of both survives
all else     the last close wins the name; the other version stays as `name.conflict-<host>-<time>`
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from vfs.data.content import Content
from vfs.data.snapshot import Snapshot
from vfs.errors import NameTooLong, ObjectNotFound, PreconditionFailed, StoreUnavailable
from vfs.store.base import ObjectStore
from vfs.store.copying import copy_object
from vfs.types import ETag, Key

log = structlog.get_logger()

ATTEMPTS = 20
"""Versions by others that one commit gives way to before it gives up."""

_NAME_BYTES = 255
"""Longest name that the mount can show (NAME_MAX)."""


@dataclass(frozen=True, slots=True)
class ConflictStatistics:
    """Commits that found another version: appends put behind it, and versions kept beside ours."""

    appended: int
    kept: int


class Conflicts:
    """Settles what commits find. One for the whole mount."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40]
        self._appended = self._kept = 0
        self.appeared: Callable[[Key], None] = lambda key: None
        """Told of a version that was kept, and where."""

    def statistics(self) -> ConflictStatistics:
        return ConflictStatistics(self._appended, self._kept)

    async def look(self, snapshot: Snapshot) -> None:
        """For a store without conditional writes: asks whether what is to be replaced is still what is stored, as
        near to the write as can be. Raises PreconditionFailed.
        """
        key = snapshot.keys[0]
        found: ETag | None = None
        with suppress(ObjectNotFound):
            found = (await self._store.head(key)).etag
        if found != snapshot.expected:
            raise PreconditionFailed(f"{key}: stored elsewhere")

    async def append(self, content: Content, snapshot: Snapshot) -> Snapshot | None:
        """The snapshot anew, with its appends behind the other version; None if it is more than appends."""
        key = snapshot.keys[0]
        try:
            found = await self._store.head(key)
        except ObjectNotFound:
            return None
        rebased = content.append_to(snapshot, found)
        if rebased is not None:
            self._appended += 1
            log.info("appended to what was stored elsewhere meanwhile", key=key, size=found.size)
        return rebased

    async def keep_other(self, key: Key) -> ETag | None:
        """Copies what is stored now to a name of its own; returns its version, None if there was nothing."""
        other = self._name_for_other(key)
        for _ in range(ATTEMPTS):
            try:
                found = await self._store.head(key)
                await copy_object(self._store, found, other)
                break
            except ObjectNotFound:
                log.info("file was deleted elsewhere while open here; stored again", key=key)
                return None
            except PreconditionFailed:
                continue  # one more version
        else:
            raise StoreUnavailable(f"{key}: others stored {ATTEMPTS} versions while one was to be kept")
        self._kept += 1
        log.warning("file was changed elsewhere while open here; kept both", key=key, other=other)
        self.appeared(other)
        return found.etag

    async def keep_unknown(self, key: Key, known: ETag | None) -> None:
        """Before a name of several is overwritten: keeps what is stored there unless it is the version known here."""
        with suppress(ObjectNotFound):
            if (await self._store.head(key)).etag != known:
                await self.keep_other(key)

    def _name_for_other(self, key: Key) -> Key:
        """Beside the name, cut where it would be too long for one; the time to the microsecond makes it unique."""
        directory, slash, name = key.rpartition("/")
        now = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 1_000_000_000))
        end = f".conflict-{self._host}-{stamp}-{now // 1000 % 1_000_000:06d}"
        stem = name.encode()[: _NAME_BYTES - len(end)].decode(errors="ignore")
        other = Key(f"{directory}{slash}{stem}{end}")
        limits = self._store.capabilities
        if limits.key_size(other) > limits.max_key:
            raise NameTooLong(f"{key}: no room beside it for the version that another writer stored")
        return other
