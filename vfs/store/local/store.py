"""LocalStore: the ObjectStore protocol over a directory; every call is one job in a worker thread.

Calls that change something are not abandoned when their task is cancelled: the cancellation waits until the disk
is done, so that a change that was given up cannot overtake a later one of the same key. Calls that only read are
left to end by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import trio

from vfs.errors import StoreError
from vfs.store.base import (
    Body,
    Capabilities,
    Fetched,
    ListPage,
    ObjectInfo,
    ObjectMeta,
    Part,
    StoreFailure,
    Upload,
    Usage,
)
from vfs.store.local.conditions import Condition
from vfs.store.local.disk import SWEEP_AGE, Disk
from vfs.store.local.faults import translated
from vfs.types import ETag, Key

THREADS = 16
"""Disk jobs at once. More would only queue in the kernel; fsyncs that run together share a journal commit."""

_LAST_JOBS = 5.0
"""Seconds that `aclose` gives jobs nobody waits for any more."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalStatistics:
    """`busy` of `threads` jobs run now; `directory_reads` were made for listings so far."""

    busy: int
    threads: int
    directory_reads: int


class LocalStore:
    """Objects as plain files under `root`, which is made if missing.

    `fsync` False gives up durability (tests). `native` False hides what S3 cannot do: rename, exchange, metadata
    in listings and at the end of an upload. `xattr` False keeps metadata in sidecar files, as is done by itself
    where the file system has no extended attributes.

    Raises ConfigError if the directory cannot serve as a store.
    """

    def __init__(self, root: Path, *, fsync: bool = True, native: bool = True, xattr: bool = True) -> None:
        self._disk = Disk(root, fsync=fsync, native=native, xattr=xattr)
        self._limiter = trio.CapacityLimiter(THREADS)

    def __repr__(self) -> str:
        return f"<LocalStore {self._disk.root} busy={self._limiter.borrowed_tokens}>"

    @property
    def root(self) -> Path:
        return self._disk.root

    @property
    def capabilities(self) -> Capabilities:
        return self._disk.capabilities

    def statistics(self) -> LocalStatistics:
        return LocalStatistics(int(self._limiter.borrowed_tokens), THREADS, self._disk.listings.windows)

    async def head(self, key: Key) -> ObjectInfo:
        return await self._read(key, partial(self._disk.objects.head, key))

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        return await self._read(key, partial(self._disk.objects.get, key, start, length, if_match))

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        condition = Condition(if_match, if_absent)
        return await self._change(key, partial(self._disk.objects.put, key, body, meta, condition))

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        return await self._read(prefix, partial(self._disk.listings.page, prefix, delimiter, token, limit))

    async def delete(self, key: Key) -> None:
        await self._change(key, partial(self._disk.objects.delete, key))

    async def delete_many(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        return await self._change("", partial(self._delete_each, keys))

    def _delete_each(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        failures: dict[Key, StoreFailure] = {}
        for key in keys:
            try:
                _translating(key, partial(self._disk.objects.delete, key))
            except StoreError as error:
                failures[key] = StoreFailure(key, str(error))
        return failures

    async def copy(
        self, source: Key, target: Key, meta: ObjectMeta | None = None, *, if_match: ETag | None = None
    ) -> ObjectInfo:
        return await self._change(target, partial(self._disk.objects.copy, source, target, meta, if_match))

    async def create_upload(self, key: Key, meta: ObjectMeta) -> Upload:
        return await self._change(key, partial(self._disk.uploads.create, key, meta))

    async def upload_part(self, upload: Upload, number: int, body: Body) -> Part:
        return await self._change(upload.key, partial(self._disk.uploads.put_part, upload, number, body))

    async def copy_part(
        self,
        upload: Upload,
        number: int,
        source: Key,
        start: int,
        length: int,
        *,
        if_match: ETag | None = None,
    ) -> Part:
        copy = partial(self._disk.uploads.copy_part, start=start, length=length, if_match=if_match)
        return await self._change(source, partial(copy, upload, number, source))

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[Part],
        meta: ObjectMeta | None = None,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        if meta is not None and not self.capabilities.late_meta:
            raise StoreError("this store takes metadata only when an upload begins")
        condition = Condition(if_match, if_absent)
        return await self._change(
            upload.key, partial(self._disk.uploads.complete, upload, parts, meta, condition)
        )

    async def abort_upload(self, upload: Upload) -> None:
        await self._change(upload.key, partial(self._disk.uploads.abort, upload))

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        return await self._read(prefix, partial(self._disk.uploads.listed, prefix))

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        return await self._read(upload.key, partial(self._disk.uploads.parts, upload))

    async def rename(self, source: Key, target: Key) -> None:
        if not self.capabilities.rename:
            raise StoreError("this store cannot rename")
        await self._change(source, partial(self._disk.renames.rename, source, target))

    async def exchange(self, one: Key, other: Key) -> None:
        if not self.capabilities.exchange:
            raise StoreError("this store cannot exchange")
        await self._change(one, partial(self._disk.renames.exchange, one, other))

    async def presign(self, key: Key, seconds: int) -> str:
        """The file itself, for as long as it exists."""
        await self.head(key)
        return f"file://{quote(str(self.root / key))}"

    async def usage(self) -> Usage | None:
        return await self._read("", self._disk.usage)

    async def sweep(self, older_than: float = SWEEP_AGE) -> int:
        """Removes what crashed writers left more than `older_than` seconds ago; returns how many files.

        Opening the store does it once. Unfinished uploads are not among them: they are found with `list_uploads`.
        """
        return await self._change("", partial(self._disk.temps.sweep, older_than))

    async def aclose(self) -> None:
        """Waits for jobs that still run. Descriptors of a disk that hangs are left to the end of the process."""
        borrowers = [object() for _ in range(THREADS)]
        with trio.move_on_after(_LAST_JOBS) as patience:
            for borrower in borrowers:
                await self._limiter.acquire_on_behalf_of(borrower)
        if patience.cancelled_caught:
            return
        self._disk.close()
        for borrower in borrowers:
            self._limiter.release_on_behalf_of(borrower)

    async def _read(self, key: str, job: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(
            _translating, key, job, limiter=self._limiter, abandon_on_cancel=True
        )

    async def _change(self, key: str, job: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(_translating, key, job, limiter=self._limiter)


def _translating(key: str, job: Callable[[], T]) -> T:
    try:
        return job()
    except OSError as error:
        raise translated(error, key) from error
