"""Stores attributes alone: a directory's with its own object, a file's with a copy of each object onto itself."""

from __future__ import annotations

from typing import Protocol

import structlog

from vfs.core.inodes import ROOT, Inode, InodeTable, join
from vfs.core.late import LateTimes
from vfs.errors import ObjectNotFound, PreconditionFailed, Stale
from vfs.layout import Layout
from vfs.meta.attrs import link_text
from vfs.meta.cache import MetaCache
from vfs.meta.entry import Entry
from vfs.store.base import ObjectInfo, ObjectMeta, ObjectStore
from vfs.store.copying import copy_object
from vfs.types import Key

log = structlog.get_logger()


class Holder(Protocol):
    """The part of a volume that is needed here."""

    table: InodeTable
    late: LateTimes

    def keys(self, inode: Inode) -> tuple[Key, ...]: ...

    def meta(self, inode: Inode) -> ObjectMeta: ...

    def stored(self, inode: Inode, info: ObjectInfo) -> None: ...

    def stored_at(self, inode: Inode, parent: Inode, name: str, info: ObjectInfo) -> None: ...

    def detach(self, parent: Inode, name: str) -> Inode: ...

    def distrust(self, inode: Inode) -> None: ...


class AttrStore:
    """One for the whole mount."""

    def __init__(self, holder: Holder, store: ObjectStore, layout: Layout, cache: MetaCache) -> None:
        self._holder = holder
        self._store = store
        self._layout = layout
        self._cache = cache

    async def store(self, inode: Inode) -> None:
        """At every name. The caller pins the path, and no commit of the content is running in this task."""
        if not inode.names or inode.ino == ROOT:
            return
        before, late, stored = inode.attr, inode.late, False
        inode.attrs_dirty = False
        self._holder.late.discard(inode)
        inode.storing += 1
        try:
            if inode.attr.is_dir:
                await self._store_directory(inode)
            elif inode.content is None:
                await self._store_file(inode)
            else:
                async with inode.content.lock:  # a commit replaces the version that is copied here
                    await self._store_file(inode)
            stored = True
        finally:
            inode.storing -= 1
            if not stored:
                inode.attrs_dirty = bool(inode.names)
                if inode.attr.is_dir:
                    self._holder.late.put_back(inode, before, late)
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

    async def _store_directory(self, inode: Inode) -> None:
        path = inode.path()
        info = await self._store.put(self._layout.dir_key(path), (), self._holder.meta(inode))
        inode.marker = True
        inode.etag = info.etag
        self._cache.put(path, Entry(inode.attr, info.etag, modified_ns=info.modified_ns))

    async def _store_file(self, inode: Inode) -> None:
        """The first name last: until then the attributes count as not stored."""
        first, *others = inode.names
        for parent, name in others:
            try:
                info = await self._store_name(inode, parent, name)
            except (PreconditionFailed, ObjectNotFound):
                log.info("a name has another writer's file now", path=join(parent, name))
                self._cache.doubt(join(parent, name))
                self._holder.detach(parent, name)
            else:
                self._holder.stored_at(inode, parent, name, info)
        info = await self._store_name(inode, *first)
        if inode.content is not None:
            inode.content.rebase(info)
        self._holder.stored(inode, info)

    async def _store_name(self, inode: Inode, parent: Inode, name: str) -> ObjectInfo:
        key = self._layout.file_key(join(parent, name))
        meta, etag = self._holder.meta(inode), inode.version(parent, name)
        if inode.attr.is_symlink:
            return await self._store.put(key, [await self.target(inode)], meta)
        assert etag is not None, "a file that is not stored has a dirty content"
        return await copy_object(self._store, ObjectInfo(key, inode.attr.size, etag, 0), key, meta)
