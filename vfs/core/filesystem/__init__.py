"""The file system: a volume, and every operation on it, a file per family."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog
import trio

from vfs.core.coherence import Coherence
from vfs.core.filesystem import attributes as _attributes
from vfs.core.filesystem import create as _create
from vfs.core.filesystem import directories as _directories
from vfs.core.filesystem import files as _files
from vfs.core.filesystem import lookup as _lookup
from vfs.core.filesystem import remove as _remove
from vfs.core.filesystem import rename as _rename
from vfs.core.garbage import AT_MOUNT, Garbage
from vfs.core.inodes import ROOT, Inode
from vfs.core.volume import Volume
from vfs.data.budget import BudgetStatistics
from vfs.data.conflict import ConflictStatistics
from vfs.errors import PreconditionFailed, StoreError, VfsError, leading
from vfs.layout import ROOTS
from vfs.meta.attrs import Defaults, encode, now_ns
from vfs.meta.cache import MetaStatistics
from vfs.meta.entry import Entry
from vfs.meta.shared import Change, Kind, SharedStatistics
from vfs.store.base import ObjectMeta
from vfs.store.health import StoreHealth, health
from vfs.store.layers import outermost
from vfs.store.metered import Metered
from vfs.types import ETag, Key

log = structlog.get_logger()

Changes = _attributes.Changes

CLEANUP_SECONDS = 10.0
"""How long an unmount waits for uploads to be aborted and orphans to be deleted; `agentfs gc` finds the rest."""


P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", bound=Volume)


def _published(
    operation: Callable[Concatenate[V, P], Awaitable[R]],
) -> Callable[Concatenate[V, P], Coroutine[Any, Any, R]]:
    """An operation that returns when other mounts have been told of what it changed, failed or not."""

    @wraps(operation)
    async def telling(self: V, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await operation(self, *args, **kwargs)
        finally:
            await self.cache.sharing.publish()

    return telling


@dataclass(frozen=True, slots=True)
class FileSystemStatistics:
    """State of a mount at one moment. Bytes, and counts."""

    open_files: int
    dirty_files: int
    dirty_bytes: int
    ram_used: int
    ram_limit: int
    inodes: int
    cached_attributes: int
    last_error: str
    budget: BudgetStatistics
    meta: MetaStatistics
    store_calls: dict[str, int]
    """Calls of the store that ended, by name."""
    store_health: StoreHealth
    conflicts: ConflictStatistics
    shared: SharedStatistics
    store_errors: dict[str, int]
    """Calls that failed, by the error's name; NotFound and the like are answers and count too."""


class FileSystem(Volume):
    """What a disk does, over an object store. Every operation raises only VfsError and its kin."""

    lookup = _lookup.lookup
    forget = _lookup.forget
    getattr = _lookup.getattr_
    readlink = _lookup.readlink
    create = _published(_create.create)
    mkdir = _published(_create.mkdir)
    mknod = _published(_create.mknod)
    symlink = _published(_create.symlink)
    link = _published(_create.link)
    open = _published(_files.open_)
    read = _files.read
    write = _files.write
    flush = _published(_files.flush)
    fsync = _published(_files.fsync)
    release = _published(_files.release)
    opendir = _directories.opendir
    entries = _directories.entries
    releasedir = _directories.releasedir
    fsyncdir = _published(_directories.fsyncdir)
    unlink = _published(_remove.unlink)
    rmdir = _published(_remove.rmdir)
    rename = _published(_rename.rename)
    setattr = _published(_attributes.setattr_)
    getxattr = _attributes.getxattr
    listxattr = _attributes.listxattr
    setxattr = _published(_attributes.setxattr)
    removexattr = _published(_attributes.removexattr)
    usage = _attributes.usage

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The background tasks. On leaving, everything is made durable that can be."""
        async with trio.open_nursery() as nursery:
            self.background.open(nursery)
            await self._make_roots()
            nursery.start_soon(self.writeback.run)
            nursery.start_soon(self.cache.sharing.shared.run, self.coherence)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(self.config.space_timeout):
                    try:
                        await self.drain()
                    except VfsError as error:
                        self.last_error = str(error)
                    await self.background.finished(CLEANUP_SECONDS)
                nursery.cancel_scope.cancel()
        self.background.close()

    async def _make_roots(self) -> None:
        defaults = Defaults.of(self.config)
        for name in ROOTS:
            key = self.layout.dir_key(name)
            entry = await self.cache.lookup(name)
            if entry is None or not entry.marker:
                attr = defaults.attr(directory=True, size=0, time_ns=now_ns())
                etag = ETag("")
                if not self.config.read_only:
                    meta = encode(attr, name, self.store.capabilities.max_metadata)
                    etag = (await self._put_root(key, meta)) or etag
                entry = Entry(attr, etag)
            root = self.table.add(self.table.root, name, entry.attr, entry.etag)
            root.lookups += 1  # the roots stay while the mount lives

    async def _put_root(self, key: Key, meta: ObjectMeta) -> ETag | None:
        try:
            return (await self.store.put(key, (), meta)).etag
        except PreconditionFailed:
            return None

    async def ask_again(self, path: str) -> None:
        """Nothing that is known of a path and of what lies below it is believed any more; "" is everything."""
        if path:
            self.coherence.distrust(path)
        else:
            self.coherence.distrust_all()
        self.cache.sharing.note(Change(Kind.TREE, path) if path else Change(Kind.ALL))
        await self.cache.sharing.publish()
        await self.all_told()

    @property
    def coherence(self) -> Coherence:
        return Coherence(self)

    def tidy(self) -> None:
        """Removes what mounts of this user that were killed left behind, in the background."""
        if not self.config.read_only:
            self.background.spawn(self._tidy)

    async def _tidy(self) -> None:
        try:
            await Garbage(self.store, self.layout).collect(AT_MOUNT)
        except StoreError as error:
            log.info("not looked for what killed mounts left behind", error=str(error))

    async def drain(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Makes everything durable. `progress` gets the files and bytes left. Raises the first failure."""
        failures: list[VfsError] = []
        inodes = self.dirty_inodes()
        left = len(inodes)

        async def one(inode: Inode) -> None:
            nonlocal left
            async with self.parallel:
                try:
                    await self.durable(inode)
                except VfsError as error:
                    failures.append(error)
            left -= 1
            if progress is not None:
                progress(left, self.budget.dirty)

        try:
            async with trio.open_nursery() as nursery:
                for inode in inodes:
                    nursery.start_soon(one, inode)
        except BaseExceptionGroup as group:
            raise leading(group) from group
        await self.late.store_all()
        if failures:
            raise StoreError(f"{len(failures)} files could not be stored: {failures[0]}") from failures[0]

    def statistics(self) -> FileSystemStatistics:
        budget = self.budget.statistics()
        meta = self.cache.statistics()
        meter = outermost(self.store, Metered)
        calls = meter.statistics().calls if meter else {}
        return FileSystemStatistics(
            open_files=self.handles.statistics().files,
            dirty_files=len(self.writeback.dirty),
            dirty_bytes=sum(content.charged for content in self.writeback.dirty),
            ram_used=budget.used,
            ram_limit=self.config.ram_limit,
            inodes=self.table.statistics().inodes,
            cached_attributes=meta.attributes,
            last_error=self.last_error or self.background.last_error,
            budget=budget,
            meta=meta,
            store_calls={name: call.ended for name, call in calls.items()},
            store_health=health(self.store),
            shared=self.cache.sharing.shared.statistics(),
            conflicts=self.committer.conflicts.statistics(),
            store_errors=dict(sum((Counter(call.errors) for call in calls.values()), Counter())),
        )

    def check(self) -> None:
        """Raises AssertionError where an invariant of the tables does not hold."""
        self.table.check()
        self.budget.check()
        for inode in self.table:
            if inode.content is not None:
                inode.content.check()


__all__ = ["ROOT", "Changes", "FileSystem", "FileSystemStatistics"]
