"""Stores attributes alone: a directory's with its own object, a file's with a copy of each object onto itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from vfs.core.inodes import ROOT, Inode, InodeTable, join
from vfs.core.late import LateTimes
from vfs.data.content import Content
from vfs.errors import ObjectNotFound, PreconditionFailed, Stale, StoreError, VfsError
from vfs.layout import Layout
from vfs.meta.attrs import link_text
from vfs.meta.cache import MetaCache
from vfs.meta.entry import Entry
from vfs.store.base import ObjectInfo, ObjectMeta, ObjectStore
from vfs.store.copying import copy_version
from vfs.types import Attr, Ino, Key

log = structlog.get_logger()


class Holder(Protocol):
    """The part of a volume that is needed here."""

    table: InodeTable
    late: LateTimes
    outdated: Callable[[Ino], None]

    def keys(self, inode: Inode) -> tuple[Key, ...]: ...

    def meta(self, inode: Inode) -> ObjectMeta: ...

    def stored(self, inode: Inode, info: ObjectInfo) -> None: ...

    def stored_at(self, inode: Inode, parent: Inode, name: str, info: ObjectInfo) -> None: ...

    def content(self, inode: Inode) -> Content: ...

    def let_go(self, inode: Inode) -> None: ...

    def detach(self, parent: Inode, name: str) -> Inode: ...

    def distrust(self, inode: Inode) -> None: ...


class AttrStore:
    """One for the whole mount."""

    def __init__(self, holder: Holder, store: ObjectStore, layout: Layout, cache: MetaCache) -> None:
        self._holder = holder
        self._store = store
        self._layout = layout
        self._cache = cache

    async def store(self, inode: Inode, undone: Attr | None = None) -> None:
        """At every name. The caller pins the path, and no commit of the content is running in this task.

        When it fails, the names that have the new attributes by then get `undone` back, as far as the store lets us.
        """
        if inode.late:
            await self._catch_up(inode)
            try:
                await self._store_now(inode, undone)
                return
            except PreconditionFailed:
                self._holder.distrust(inode)
            if inode.late:
                await self._catch_up(inode)
        await self._store_now(inode, undone)

    async def _catch_up(self, directory: Inode) -> None:
        """Makes a directory, whose times alone are to be stored, otherwise what another mount made of it meanwhile.

        No precondition would tell of that: the etag of an empty object is always the same. Raises ObjectNotFound if
        he removed it.
        """
        path = directory.path()
        entry = await self._cache.lookup(path, True, self._cache.max_age)
        if not directory.late or directory.storing:
            return  # it was changed here, after what was asked
        if entry is None or not entry.attr.is_dir or not entry.marker:
            if directory.marker and directory.parent is not self._holder.table.root:
                raise ObjectNotFound(path)
            return  # of 'workspace' the cache may remember that it was not there before this mount made it
        before, directory.attr = directory.attr, directory.merged(entry.attr)
        directory.etag, directory.marker = entry.etag, True
        if directory.attr != before:
            self._holder.outdated(directory.ino)

    async def _store_now(self, inode: Inode, undone: Attr | None) -> None:
        if not inode.names or inode.ino == ROOT:
            return
        before, late, stored = inode.attr, inode.late, False
        inode.attrs_dirty = False
        self._holder.late.discard(inode)
        inode.storing += 1
        try:
            if inode.attr.is_dir:
                await self._store_directory(inode, late)
            else:  # with its content locked, if there is none yet too: a commit replaces the version that is copied
                async with self._holder.content(inode).lock:
                    await self._store_file(inode, undone)
            stored = True
        finally:
            inode.storing -= 1
            self._holder.let_go(inode)
            if not stored:
                inode.attrs_dirty = bool(inode.names and (inode.handles or inode.attr.is_dir))
                if inode.attr.is_dir:
                    self._holder.late.put_back(inode, before, late)
                elif not inode.handles:  # the last close came meanwhile: no other will try again
                    self._holder.distrust(inode)
                    self._holder.outdated(inode.ino)
        if not inode.lookups:
            self._holder.table.reap(inode)

    async def mark(self, directory: Inode) -> None:
        """Gives a directory an object of its own, so that it stays when its last entry goes."""
        if not directory.marker and directory.ino != ROOT:
            await self.store(directory)

    async def target(self, inode: Inode) -> bytes:
        """The text of a symbolic link, whether it is the object's body or, as geesefs has it, in its metadata.

        The caller pins the path. Raises Stale when another writer replaced or deleted the object.
        """
        if inode.target is None:
            try:
                got = await self._store.get(self._holder.keys(inode)[0], if_match=inode.etag)
            except (PreconditionFailed, ObjectNotFound) as error:
                self._holder.distrust(inode)
                raise Stale("the link was deleted or replaced by another writer") from error
            inode.target = link_text(got.info.meta) or bytes(got.data)
        return inode.target

    async def _store_directory(self, inode: Inode, late: bool) -> None:
        """Only where it still is: times that are stored late must not bring back what another mount removed.

        Nor what it changed: raises PreconditionFailed if `late`, where the etag tells.
        """
        path = inode.path()
        key, meta = self._layout.dir_key(path), self._holder.meta(inode)
        there = inode.marker and self._store.capabilities.conditional_put
        try:
            info = await self._store.put(key, (), meta, if_match=inode.etag if there else None)
        except PreconditionFailed:
            if late:
                raise
            info = await self._store.put(key, (), meta, if_match=(await self._store.head(key)).etag)
        inode.marker = True
        inode.etag = info.etag
        self._cache.put(path, Entry(inode.attr, info.etag, modified_ns=info.modified_ns))

    async def _store_file(self, inode: Inode, undone: Attr | None) -> None:
        first, *others = inode.names
        info = await self._store_name(inode, *first)
        if inode.content is not None:
            inode.content.rebase(info)
        self._holder.stored(inode, info)
        done = [first]
        for place in others:
            try:
                info = await self._store_name(inode, *place)
            except (PreconditionFailed, ObjectNotFound):
                log.info("a name has another writer's file now", path=join(*place))
                self._cache.doubt(join(*place))
                self._holder.detach(*place)
            except VfsError:
                await self._undo(inode, done, undone)
                raise
            else:
                self._holder.stored_at(inode, *place, info)
                done.append(place)

    async def _undo(self, inode: Inode, done: Sequence[tuple[Inode, str]], undone: Attr | None) -> None:
        if undone is None:
            return
        inode.attr = undone
        for place in done:
            with suppress(StoreError):
                self._holder.stored_at(inode, *place, await self._store_name(inode, *place))

    async def _store_name(self, inode: Inode, parent: Inode, name: str) -> ObjectInfo:
        key = self._layout.file_key(join(parent, name))
        meta, etag = self._holder.meta(inode), inode.version(parent, name)
        assert etag is not None, "a file that is not stored has a dirty content"
        if inode.attr.is_symlink:
            if_match = etag if self._store.capabilities.conditional_put else None
            return await self._store.put(key, [await self.target(inode)], meta, if_match=if_match)
        return await copy_version(self._store, ObjectInfo(key, inode.attr.size, etag, 0), key, meta)
