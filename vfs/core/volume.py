"""The state of one mount and the few moves that every operation is made of.

`FileSystem` adds the operations, a file per family. What is here is what they share: finding a name, making a file
durable, storing attributes.
"""

from __future__ import annotations

import math
import secrets
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
import trio

from vfs.config import Config
from vfs.core.absences import Absences
from vfs.core.attr_store import AttrStore
from vfs.core.background import Background
from vfs.core.handles import Handles
from vfs.core.inodes import ROOT, Inode, InodeTable, join
from vfs.core.late import LateTimes
from vfs.core.paths import PathHeld, Paths
from vfs.core.prefetch import Prefetch
from vfs.core.subject import NamedContent
from vfs.data.budget import Budget
from vfs.data.commit import Committer
from vfs.data.content import Content
from vfs.data.read_ahead import ReadAhead
from vfs.data.snapshot import Base
from vfs.data.stream import Shipper
from vfs.data.writeback import Writeback
from vfs.errors import ConfigError, NotDirectory, NotFound, ObjectNotFound, VfsError
from vfs.layout import Layout
from vfs.meta.attrs import encode, now_ns
from vfs.meta.cache import MetaCache
from vfs.meta.contents import SharedContents
from vfs.meta.entry import Entry
from vfs.meta.shared import SharedCache
from vfs.store.base import ObjectInfo, ObjectMeta, ObjectStore
from vfs.types import Attr, Ino, Key

log = structlog.get_logger()

RAM_PARTS = 16
"""Parts that fit under the RAM limit at least: two for each of several files, and those on their way."""


class Volume:
    """Everything one mount knows. Operations are added by FileSystem."""

    def __init__(self, store: ObjectStore, config: Config, shared: SharedCache | None = None) -> None:
        least = store.capabilities.min_part
        wanted = store.capabilities.part_size or config.part_size
        if wanted < least:
            raise ConfigError(f"part_size {wanted}: this store takes {least} at least")
        self.part_size = max(least, min(wanted, config.ram_limit // RAM_PARTS))
        """Bytes; smaller than asked for where RAM is small, so that several files can be written at once."""
        self.background = Background()
        self.store = store
        self.shared_content = config.shared_content if shared is not None else 0
        if shared is not None:
            self.store = SharedContents(store, shared, config.shared_content, self.background.spawn)
        self.config = config
        self.id = secrets.token_hex(8)
        self.layout = Layout(config.user, store.capabilities.max_key, store.capabilities.key_size)
        self.cache = MetaCache(store, self.layout, config, shared, self.background.spawn)
        now = now_ns()
        self.table = InodeTable(Attr(stat.S_IFDIR | 0o755, config.uid, config.gid, 0, now, now, now))
        self.paths = Paths(self.table, config.path_timeout)
        self.prefetch = Prefetch(self.cache, self.paths, self.background)
        self.absences = Absences(store, self.layout, self.cache)
        self.handles = Handles(config.max_handles)
        headroom = min(2 * self.part_size, config.ram_limit // 2)
        self.budget = Budget(config.ram_limit - headroom, config.space_timeout)
        slots = trio.CapacityLimiter(config.uploads)
        self.shipper = Shipper(store, slots)
        self.committer = Committer(self.store, self.shipper, slots)
        self.committer.conflicts.appeared = lambda key: self.cache.doubt(self.layout.path(key))
        self.writeback = Writeback(self.budget, self._spill)
        self.parallel = trio.CapacityLimiter(16)
        """Small requests that one operation has under way at once: a HEAD per entry, a copy per file."""
        self.last_error = ""
        self.dropped: Callable[[Ino, bytes], None] = lambda parent, name: None
        """Told of a name that is gone although the kernel did not ask for it; set by `fuse.notify`."""
        self.outdated: Callable[[Ino], None] = lambda ino: None
        """Told of attributes that are not what the kernel has been told; set by `fuse.notify`."""
        self.kernel_told: Callable[[], Awaitable[bool]] = _told
        """Returns when the kernel has heard of all attributes before, or False; set by `fuse.notify`."""
        self.all_told: Callable[[], Awaitable[bool]] = _told
        """The same of names too."""
        self.attrs = AttrStore(self, self.store, self.layout, self.cache)
        self.late = LateTimes(self.attrs.store, self.paths, self.background, self.parallel)
        self.read_ahead = ReadAhead(self.budget, self.background.spawn, config.read_ahead)
        self._contents: dict[Content, Inode] = {}

    # -- keys and attributes ---------------------------------------------------------------------------------

    def keys(self, inode: Inode) -> tuple[Key, ...]:
        """Where the content of a file is stored: one key per name, or the orphan's."""
        if not inode.names:
            if inode.orphan is None:
                inode.orphan = self.layout.private_key("orphans", self.id, str(inode.ino))
            return (inode.orphan,)
        return tuple(self.layout.file_key(join(parent, name)) for parent, name in inode.names)

    def meta(self, inode: Inode) -> ObjectMeta:
        name = inode.names[0][1] if inode.names else ""
        return encode(inode.attr, name, self.store.capabilities.max_metadata)

    def content(self, inode: Inode) -> Content:
        """The inode's content, made if there is none yet."""
        if inode.content is None:
            base = None
            if inode.etag is not None:
                base = Base(self.keys(inode)[0], inode.etag, inode.attr.size)
            inode.content = Content(NamedContent(self, inode), self.budget, self.part_size, base)
        return inode.content

    def touch(self, directory: Inode) -> None:
        """An entry came or went: new times, stored later (see decisions/0005)."""
        self.late.touch(directory, keep=not self.config.read_only)

    # -- finding ---------------------------------------------------------------------------------------------

    async def resolve(
        self, parent: Inode, name: str, directory: bool | None = None, max_age: float = math.inf
    ) -> Inode | None:
        """The inode under a name, from memory or the store; None if there is none. The caller pins `parent`.

        `directory` is what a listing showed, if one did. What is known must be no older than `max_age` seconds.
        """
        if not parent.attr.is_dir:
            raise NotDirectory(f"inode {parent.ino}")
        child = parent.children.get(name)
        ours = child is not None and child.busy and not child.only_read
        if child is not None and (ours or self.fresh(child, join(parent, name), max_age)):
            return child
        if parent.ino == ROOT:
            return child  # exactly what was put there when the mount began
        entry = await self.cache.lookup(join(parent, name), directory, max_age)
        return self.adopt(parent, name, entry)

    def fresh(self, inode: Inode, path: str, max_age: float = math.inf) -> bool:
        """What is known of an inode need not be asked for again. Of several names each is known by itself."""
        known_until = inode.known_at + min(self.cache.memory.ttl(path), max_age)
        return len(inode.names) == 1 and known_until > trio.current_time()

    def adopt(
        self, parent: Inode, name: str, entry: Entry | None, known_at: float = -math.inf
    ) -> Inode | None:
        """Takes over what the store says of a name, unless this mount knows better.

        Who has a file open to read it keeps his version, but not its name.
        """
        child = parent.children.get(name)
        if child is not None and (child.busy or child.moving):
            if entry is not None or not child.only_read or child.moving or child.pins:
                return child
            self.detach(parent, name)
            return None
        if child is not None and (entry is None or child.replaced(parent, name, entry.attr, entry.etag)):
            if child.pins or any(node.busy for node in child.below()):
                return child  # what is not stored yet must not lose its place
            self.detach(parent, name)
            child = None
        if entry is None:
            return None
        if child is None:
            child = self.table.add(parent, name, entry.attr, entry.etag)
            child.unseen = entry.etag
        elif child.attr.is_dir:
            child.etag = entry.etag
        elif child.version(parent, name) != entry.etag:
            if child.content is not None:
                self.release_content(child)
            child.stale_pages = True
            child.target = None
            child.etag = child.unseen = entry.etag
        if child.attr != (attr := child.merged(entry.attr)) and len(child.names) == 1:
            child.attr = attr
            self.outdated(child.ino)
        child.marker = entry.marker
        child.known_at = known_at
        return child

    def detach(self, parent: Inode, name: str) -> Inode:
        """Takes a name out of the tree, with all that is known below it."""
        inode = parent.children[name]
        for node in list(inode.children):
            self.detach(inode, node)
        self.table.unlink(parent, name)
        if not inode.names:
            self.late.discard(inode)
            inode.attrs_dirty = False
            if not inode.handles:
                self._abandon(inode)
            self.table.reap(inode)
        elif inode.content is not None and inode.etag is not None:  # another name may come first now
            inode.content.rebase(ObjectInfo(self.keys(inode)[0], inode.attr.size, inode.etag, 0))
        return inode

    def _abandon(self, inode: Inode) -> None:
        """A file without a name that nobody has open. Its clean bytes stay: an OPEN may be on its way."""
        content = inode.content
        if content is None or content.dirty or not inode.lookups:
            self.release_content(inode)
        orphan, inode.orphan = inode.orphan, None
        if orphan is not None:
            self.background.spawn(lambda: self.delete_quietly(orphan))

    def distrust(self, inode: Inode) -> None:
        """The store turned out to have another version: ask it at the next lookup and open."""
        inode.known_at = -math.inf
        for parent, name in inode.names:
            self.cache.doubt(join(parent, name))

    def release_content(self, inode: Inode) -> None:
        """Gives back the RAM of a content that nobody has open, dirty or not."""
        content, inode.content = inode.content, None
        if content is not None:
            content.forget()
            self._contents.pop(content, None)
            self.writeback.note(content)

    def let_go(self, inode: Inode) -> None:
        """Gives up a content that holds nothing, once nobody uses it."""
        content = inode.content
        if content is None or inode.handles or inode.storing or content.dirty or content.error is not None:
            return
        if not len(content.clean):
            self.release_content(inode)

    # -- storing ---------------------------------------------------------------------------------------------

    def changed(self, inode: Inode) -> None:
        """The content became dirty."""
        assert inode.content is not None
        inode.unseen = None
        self._contents[inode.content] = inode
        self.writeback.note(inode.content)

    async def commit(self, inode: Inode) -> None:
        """Makes the object equal to the content, at every name. The caller pins the inode's path.

        Raises the error that sticks to the file, if one does.
        """
        content = inode.content
        if content is None:
            return
        late, inode.attrs_dirty = inode.attrs_dirty, False
        stored = False
        try:
            info = await self.committer.commit(content)
            stored = True
        except VfsError as error:
            self.last_error = f"{inode!r}: {error}"
            raise
        finally:
            inode.attrs_dirty |= late and not stored
            self.writeback.note(content)
            self.budget.wake()
        if not content.dirty:
            self._contents.pop(content, None)
        if inode.attr.size != content.size:  # its appends went behind what another writer had stored
            inode.attr = replace(inode.attr, size=content.size)
            inode.stale_pages = True
            self.outdated(inode.ino)
        if info is not None:
            self.stored(inode, info)
        elif late:
            await self.attrs.store(inode)

    def stored(self, inode: Inode, info: ObjectInfo) -> None:
        """The store has this version now, whatever was written meanwhile."""
        inode.known_at = trio.current_time()
        if inode.names:
            self.stored_at(inode, *inode.names[0], info)
        else:
            inode.etag = info.etag

    def stored_at(self, inode: Inode, parent: Inode, name: str, info: ObjectInfo) -> None:
        """The same of one of its names."""
        inode.has_version(parent, name, info.etag)
        attr = replace(inode.attr, size=info.size)
        if not self.cache.put(join(parent, name), Entry(attr, info.etag, modified_ns=info.modified_ns)):
            inode.known_at = -math.inf

    async def durable(self, inode: Inode, undone: Attr | None = None) -> None:
        """Returns when all that was done to this file before is in the store. `undone` as in AttrStore.store."""
        if not inode.names:
            if inode.content is not None:
                inode.content.raise_error()
            return
        if inode.content is not None and (inode.content.dirty or inode.content.error):
            async with self.paths.pinned(inode):
                await self.commit(inode)
        elif inode.attrs_dirty:
            async with self.paths.pinned(inode):
                await self.attrs.store(inode, undone)

    # -- background ------------------------------------------------------------------------------------------

    async def _spill(self, content: Content) -> None:
        """Frees RAM: sends full parts if there are any, the first one too, else commits."""
        inode = self._contents.get(content)
        if inode is None:
            return

        async def spill() -> None:
            async with self.paths.pinned(inode):
                if inode.content is not content:
                    return
                if self.shipper.ready(content, first=1) is not None:
                    await self.shipper.ship(content, first=1)
                else:
                    await self.commit(inode)

        await self.background.guard(spill, _unless_held(content))

    def ship(self, inode: Inode, content: Content) -> None:
        """Sends the full parts of a file that is being written, in the background, one task per file."""
        if content.shipper:
            return
        content.shipper = True

        async def ship() -> None:
            try:
                async with self.paths.pinned(inode):
                    if inode.content is content:
                        await self.shipper.ship(content, awaited=lambda: self.paths.contested(inode))
            finally:
                content.shipper = False
                self.budget.wake()  # while it was sent nobody could commit it

        self.background.spawn(ship, _unless_held(content))

    def abort_later(self, content: Content) -> None:
        """Gives up the content's upload, if there is one. Nobody waits for the store to free it."""
        stream = content.drop_stream()
        if stream is not None:
            self.background.spawn(lambda: self.shipper.abort(stream))

    def dirty_inodes(self) -> list[Inode]:
        """Files with bytes or attributes that the store does not have."""
        files = [inode for content, inode in self._contents.items() if content.dirty and inode.names]
        seen = {inode.ino for inode in files}
        return files + [i for i in self.table if i.attrs_dirty and i.ino not in seen and not i.attr.is_dir]

    async def delete_quietly(self, key: Key) -> None:
        """Removes an object that nobody will ask for; if that fails, it is debris, not an error."""
        try:
            await self.store.delete(key)
        except (ObjectNotFound, VfsError) as error:
            log.info("object left behind", key=key, error=str(error))

    def directory(self, ino: Ino) -> Inode:
        """A directory that still has its place in the tree. Raises NotDirectory, NotFound."""
        inode = self.table.get(ino)
        if not inode.attr.is_dir:
            raise NotDirectory(f"inode {ino}")
        if not inode.names and inode.ino != ROOT:
            raise NotFound(f"directory {ino} was removed")
        return inode


async def _told() -> bool:
    await trio.lowlevel.checkpoint()
    return True


def _unless_held(content: Content) -> Callable[[VfsError], None]:
    """Makes a failure stick to a content; but what only waited in vain for its path stays as it is, in RAM."""

    def failed(error: VfsError) -> None:
        if not isinstance(error, PathHeld):
            content.fail(error)

    return failed
