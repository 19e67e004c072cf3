"""rename: files and trees, over existing targets, NOREPLACE and EXCHANGE.

A store that can rename does it in one step. On all others everything is copied before anything is deleted, so that
an interruption leaves both names and never neither, and a second try finishes it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from vfs.core.filesystem.create import require_absent
from vfs.core.filesystem.remove import copy_aside, find, forget_name, read_from, require_empty
from vfs.core.filesystem.transfer import Transfer, is_copied, undo_all
from vfs.core.garbage import exchange_key, rename_key
from vfs.core.inodes import ROOT, Inode, join
from vfs.core.volume import Volume
from vfs.errors import (
    Exists,
    InvalidArgument,
    IsDirectory,
    NameTooLong,
    NotDirectory,
    NotEmpty,
    NotFound,
    NotPermitted,
    ObjectNotFound,
    PreconditionFailed,
    Stale,
)
from vfs.layout import decode_name
from vfs.meta.entry import Entry
from vfs.store.base import ObjectInfo, ObjectMeta
from vfs.store.copying import copy_object, copy_version
from vfs.types import ETag, Ino, Key

NOREPLACE = 1
EXCHANGE = 2
"""Flags of renameat2(2)."""


async def rename(
    volume: Volume, parent: Ino, name: bytes, new_parent: Ino, new_name: bytes, flags: int = 0
) -> None:
    """Gives a file or a tree another name. It is stored under the new one when this returns."""
    if flags not in (0, NOREPLACE, EXCHANGE):
        raise InvalidArgument(f"rename flags {flags:#x}")
    source_dir, target_dir = volume.directory(parent), volume.directory(new_parent)
    if ROOT in (source_dir.ino, target_dir.ino):
        raise NotPermitted("'workspace' and 'memory' keep their names and hold everything else")
    source_name, target_name = decode_name(name), decode_name(new_name)
    asked_again = False
    while True:
        source = await find(volume, source_dir, source_name)
        async with volume.paths.pinned(target_dir):
            target = await volume.resolve(target_dir, target_name)
        if source is target:
            return
        movers = (source,) if target is None else (source, target)
        try:
            async with volume.paths.moving(movers, source_dir, target_dir):
                if source_dir.children.get(source_name) is not source:
                    continue
                if target_dir.children.get(target_name) is not target:
                    continue
                move = _Move(volume, source_dir, source_name, source, target_dir, target_name, target)
                await (move.exchange() if flags == EXCHANGE else move.replace(flags))
                return
        except PreconditionFailed:  # another writer replaced the file: it is that version which is renamed
            if asked_again or source.busy:
                raise
            asked_again = True
            volume.distrust(source)


class _Move:
    """One rename, its inodes held exclusively."""

    def __init__(
        self,
        volume: Volume,
        source_dir: Inode,
        source_name: str,
        source: Inode,
        target_dir: Inode,
        target_name: str,
        target: Inode | None,
    ) -> None:
        self.volume = volume
        self.source_dir, self.source_name, self.source = source_dir, source_name, source
        self.target_dir, self.target_name, self.target = target_dir, target_name, target
        self.source_path = join(source_dir, source_name)
        self.target_path = join(target_dir, target_name)
        self.source_key = self._key(source, self.source_path)
        self.target_key = self._key(source, self.target_path)
        self._modified_ns = 0
        """The store's time of what was moved, if it told."""
        self._another = False
        """Another writer's version was moved; those who have the file open here keep theirs."""
        self._again = False
        """An earlier try was cut short: what is at the target is what it had moved."""
        self._inside: set[str] | None = None
        """Directories below the one that moves, relative to it."""

    def _key(self, inode: Inode, path: str) -> Key:
        layout = self.volume.layout
        layout.dir_key(path)
        return layout.dir_key(path) if inode.attr.is_dir else layout.file_key(path)

    async def replace(self, flags: int) -> None:
        volume, source, target = self.volume, self.source, self.target
        if target is not None:
            if flags == NOREPLACE:
                raise Exists(self.target_name)
            await self._require_replaceable(target)
        if source.attr.is_dir:
            await self._require_short_keys(self.source_key, self.target_key)
        await self._store(source)
        if flags == NOREPLACE:
            await require_absent(volume, self.target_key)
        await volume.attrs.mark(self.source_dir)
        if source.attr.is_dir:
            await self._move_tree(target)
        else:
            await self._move_file(target)
        if target is not None:
            forget_name(volume, self.target_dir, self.target_name)
        self._relink()
        volume.touch(self.source_dir)
        volume.touch(self.target_dir)

    async def _require_replaceable(self, target: Inode) -> None:
        if self.source.attr.is_dir:
            if not target.attr.is_dir:
                raise NotDirectory(self.target_name)
            try:
                await require_empty(self.volume, target)
            except NotEmpty:
                if not await self._was_cut_short():
                    raise
                self._again = True
        elif target.attr.is_dir:
            raise IsDirectory(self.target_name)

    async def _was_cut_short(self) -> bool:
        """This very rename was begun before and has copied some or deleted some: one end has all that the other has.

        The note alone tells that: two directories may be alike.
        """
        store, source, target = self.volume.store, self.source_key, self.target_key
        if store.capabilities.rename:
            return False
        try:
            await store.head(self._note())
        except ObjectNotFound:
            return False
        return await is_copied(store, source, target) or await is_copied(store, target, source)

    def _note(self) -> Key:
        """Where it is noted that the rename of a directory was begun."""
        both = f"{self.source_key}\0{self.target_key}".encode()
        return rename_key(self.volume.layout, hashlib.sha1(both, usedforsecurity=False).hexdigest())

    async def _require_short_keys(self, source: Key, target: Key) -> None:
        """Raises NameTooLong, before anything moves, if a key below would outgrow the store's limit."""
        limits = self.volume.store.capabilities
        token: str | None = None
        while limits.key_size(target) > limits.key_size(source):
            page = await self.volume.store.list(source, token=token)
            for info in page.objects:
                if limits.key_size(target + info.key[len(source) :]) > limits.max_key:
                    raise NameTooLong(f"{info.key}: its key would be too long under the new name")
            token = page.token
            if token is None:
                return

    async def _store(self, inode: Inode) -> None:
        """What is dirty is stored under the old name first; the copies then have it."""
        for node in (inode, *inode.below()):
            if node.attr.is_file and node.content is not None and (node.content.dirty or node.attrs_dirty):
                await self.volume.commit(node)
            elif node.attrs_dirty:
                await self.volume.attrs.store(node)
        for directory, name, known in (
            (self.source_dir, self.source_name, self.source),
            (self.target_dir, self.target_name, self.target),
        ):
            if directory.children.get(name) is not known:
                raise Stale(f"{name!r} is another writer's file now: walk the path again")

    async def _move_file(self, target: Inode | None) -> None:
        """The target's name shows the old file or the new one at every moment, whoever has the old one open."""
        volume = self.volume
        aside = None if target is None else await copy_aside(volume, target, self.target_key)
        try:
            await self._replace_object()
        except BaseException:
            if aside is not None:
                volume.background.spawn(lambda: volume.delete_quietly(aside.key))
            raise
        if target is not None and aside is not None:
            read_from(target, aside)

    async def _replace_object(self) -> None:
        volume, source = self.volume, self.source
        etag = source.version(self.source_dir, self.source_name)
        assert etag is not None, "committed"
        if volume.store.capabilities.rename:
            await volume.store.rename(self.source_key, self.target_key)
            return
        stored = ObjectInfo(self.source_key, source.attr.size, etag, 0, volume.meta(source))
        try:
            info = await copy_version(volume.store, stored, self.target_key)
        except PreconditionFailed:
            if not source.handles:
                raise
            info = await copy_object(volume.store, await volume.store.head(self.source_key), self.target_key)
            self._another = True
        else:
            source.has_version(self.source_dir, self.source_name, info.etag)
        await volume.store.delete(self.source_key)
        self._modified_ns = info.modified_ns

    async def _move_tree(self, target: Inode | None) -> None:
        volume = self.volume
        if volume.store.capabilities.rename:
            await volume.store.rename(self.source_key, self.target_key)
            return
        move = Transfer(
            volume, self.source_key, self.target_key, self._versions(self.source, self.source_key)
        )
        note = self._note()
        await volume.store.put(note, (), ObjectMeta())
        await move.bring()
        self._inside = move.directories
        if target is not None and target.marker and not move.marker and not self._again:
            await volume.store.delete(self.target_key)
        await move.clear()
        volume.background.spawn(lambda: volume.delete_quietly(note))
        self._adopt_etags(self.source, self.source_key, move.etags)

    def _relink(self) -> None:
        """The tree follows the store, and so does what is remembered of it."""
        volume, source = self.volume, self.source
        etag = source.version(self.source_dir, self.source_name)
        assert etag is not None, "stored"
        if source.attr.is_dir:
            volume.cache.moved(self.source_path, self._directories(self.source_path))
            volume.cache.moved(self.target_path, self._directories(self.target_path))
        volume.cache.drop(self.source_path)
        volume.table.move(self.source_dir, self.source_name, self.target_dir, self.target_name, etag)
        moved = Entry(source.attr, etag, source.marker, self._modified_ns)
        if self._another or not volume.cache.put(self.target_path, moved):
            volume.distrust(source)
        self._follow(source)
        if self._again:  # what the kernel knows to be absent in it may have been moved by the first try
            volume.dropped(self.target_dir.ino, self.target_name.encode())

    def _directories(self, path: str) -> list[str] | None:
        """The directories below one end of the move; None where only the store knows them."""
        if self._inside is None:
            return None
        parts = (inside.split("/") for inside in self._inside if inside)
        below = {"/".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)}
        return [f"{path}/{inside}" for inside in sorted(below)]

    def _follow(self, inode: Inode) -> None:
        """Contents read from their new keys from now on."""
        for node in (inode, *inode.below()):
            content = node.content
            if content is not None and content.base is not None and node.names and node.etag is not None:
                content.rebase(ObjectInfo(self.volume.keys(node)[0], content.base.size, node.etag, 0))

    # -- exchange --------------------------------------------------------------------------------------------

    async def exchange(self) -> None:
        """Two names change places. Without help of the store: by way of a private key, in three moves."""
        volume, source, target = self.volume, self.source, self.target
        if target is None:
            raise NotFound(self.target_name)
        self._refuse_nesting(target)
        target_key = self._key(target, self.target_path)
        for inode, old, new in (
            (source, self.source_key, self.target_key),
            (target, target_key, self.source_key),
        ):
            if inode.attr.is_dir:
                await self._require_short_keys(old, new)
            await self._store(inode)
        if volume.store.capabilities.exchange:
            await volume.store.exchange(self.source_key, target_key)
        else:
            await self._three_moves(target, target_key)
        for path in (self.source_path, self.target_path):
            volume.cache.moved(path, None)
        etags = (
            source.version(self.source_dir, self.source_name),
            target.version(self.target_dir, self.target_name),
        )
        volume.table.unlink(self.source_dir, self.source_name)
        volume.table.unlink(self.target_dir, self.target_name)
        volume.table.link(source, self.target_dir, self.target_name, etags[0])
        volume.table.link(target, self.source_dir, self.source_name, etags[1])
        for inode in (source, target):
            self._follow(inode)
            for parent in {self.source_dir, self.target_dir}:
                volume.touch(parent)

    def _refuse_nesting(self, target: Inode) -> None:
        if self.source in self.target_dir.ancestry() or target in self.source_dir.ancestry():
            raise InvalidArgument("a directory cannot change places with what is in it")

    def _distrust(self, inode: Inode) -> None:
        """Where it is found, and as which version, only the store knows."""
        for node in inode.below():
            node.known_at = -math.inf
        self.volume.cache.moved(inode.path(), None)
        self.volume.distrust(inode)

    async def _three_moves(self, target: Inode, target_key: Key) -> None:
        volume = self.volume
        slash = "/" if self.source.attr.is_dir else ""
        aside = Key(exchange_key(volume.layout, self.source_path) + slash)
        mine, others = self._versions(self.source, self.source_key), self._versions(target, target_key)
        away = Transfer(volume, self.source_key, aside, mine)
        over = Transfer(volume, target_key, self._key(target, self.source_path), others)
        back = Transfer(volume, aside, self.target_key, away.etags)
        begun: list[Transfer] = []
        try:
            for move in (away, over):
                begun.append(move)
                await move.run()
            begun.append(back)
            await back.bring()
        except BaseException:
            await undo_all(begun, volume.config.space_timeout)
            self._adopt_etags(self.source, self.source_key, away.returned)
            self._adopt_etags(target, target_key, over.returned)
            for inode in (self.source, target):
                self._follow(inode)
                self._distrust(inode)
            raise
        await back.clear_if_possible(volume.config.space_timeout)
        self._adopt_etags(target, target_key, over.etags)
        self._adopt_etags(self.source, self.source_key, back.etags)

    def _versions(self, inode: Inode, key: Key) -> dict[str, ETag]:
        """Of all files of which something is known here."""
        versions: dict[str, ETag] = {}
        for rest, (node, parent, name) in self._known(inode, key).items():
            if (etag := node.version(parent, name)) is not None:
                versions[rest] = etag
        return versions

    def _known(self, inode: Inode, key: Key) -> dict[str, tuple[Inode, Inode, str]]:
        """Files at or below one that moves, by the rest of their key: inode, directory and name.

        As the tree has them until it follows; a file with several names may have some of them elsewhere.
        """
        known: dict[str, tuple[Inode, Inode, str]] = {}
        for node in (inode, *inode.below()):
            if node.attr.is_dir or node.etag is None:
                continue
            for stored, (parent, name) in zip(self.volume.keys(node), node.names, strict=True):
                if stored == key or (stored.startswith(key) and inode.attr.is_dir):
                    known[stored[len(key) :]] = (node, parent, name)
        return known

    def _adopt_etags(self, inode: Inode, key: Key, etags: Mapping[str, ETag]) -> None:
        """What was copied are new versions. The tree still has the old names; contents follow in `_follow`.

        What was not, or had become another version before, is asked for again.
        """
        for rest, (node, parent, name) in self._known(inode, key).items():
            if rest in etags:
                node.has_version(parent, name, etags[rest])
            else:
                node.known_at = -math.inf
