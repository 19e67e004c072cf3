"""The inode table: ino <-> name, lookup counts, and the tree that keys are computed from. Synchronous only.

An inode lives here while the kernel knows it (lookup count), while it is open, while something lies under it that
lives, or while it holds what the store does not have yet. Everything else can be asked of the store again.
"""

from __future__ import annotations

import itertools
import math
import stat
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vfs.data.content import Content
from vfs.errors import NotFound, Stale
from vfs.types import Attr, ETag, Ino, Key

ROOT = Ino(1)

MAX_LINKED = 65_536
"""Inodes with several names that are kept although nobody uses them; the oldest become independent files."""


_NO_CHILDREN: dict[str, Inode] = {}
"""Shared by all files: 100,000 empty dicts would be 6 MB. Never written to."""

_NO_COPIES: dict[tuple[Inode, str], ETag] = {}
"""Likewise."""


class Inode:
    """One file or directory as this mount knows it.

    `names` holds every (parent, name); empty once it was removed. INVARIANT: a directory has at most one.
    `etag` is the version stored at the first name; None while nothing is stored (created and not closed yet).
    `copies` are the versions at the others: each name is an object of its own, which others may replace.
    INVARIANT: no more of them than there are such names.
    """

    __slots__ = (
        "attr",
        "attrs_dirty",
        "children",
        "content",
        "copies",
        "etag",
        "handles",
        "ino",
        "known_at",
        "late",
        "listed",
        "lookups",
        "marker",
        "moving",
        "names",
        "orphan",
        "pins",
        "readers",
        "stale_pages",
        "storing",
        "target",
        "times_set",
        "unseen",
        "writers",
    )

    def __init__(self, ino: Ino, attr: Attr, etag: ETag | None) -> None:
        self.ino = ino
        self.attr = attr
        self.etag = etag
        self.names: list[tuple[Inode, str]] = []
        self.copies = _NO_COPIES
        self.children: dict[str, Inode] = {} if attr.is_dir else _NO_CHILDREN
        self.content: Content | None = None
        self.lookups = 0
        self.handles = 0
        self.writers = 0
        """Handles that can write."""
        self.marker = True
        """A directory: its own object exists."""
        self.attrs_dirty = False
        """Attributes that the store does not have: they go with the next commit, or when a directory is stored."""
        self.late = False
        """A directory: the times alone are what the store does not have."""
        self.orphan: Key | None = None
        """Where the content of a file without a name is kept until its last close."""
        self.target: bytes | None = None
        """A symbolic link's text, once known."""
        self.stale_pages = False
        """Another writer stored a version since the kernel read this file: its pages must not be trusted."""
        self.unseen: ETag | None = None
        """The version of another writer of which nobody here has seen anything yet."""
        self.storing = 0
        """Requests under way that store its attributes: what is known of the store meanwhile is older."""
        self.times_set = False
        """Its times were set on purpose, and nothing was written since."""
        self.readers: tuple[set[str], ...] = ()
        """Open listings of this directory: each collects the names that went away since it was taken."""
        self.listed: dict[str, bool] = {}
        """Names that the open listing which began last has shown so far -> whether each is a directory."""
        self.known_at = -math.inf
        """When the attributes were true in the store, by trio's clock."""
        self.pins = 0
        self.moving = False

    def __repr__(self) -> str:
        return f"<Inode {self.ino} {self.path() if self.names else '(no name)'} lookups={self.lookups}>"

    @property
    def parent(self) -> Inode | None:
        return self.names[0][0] if self.names else None

    @property
    def nlink(self) -> int:
        """Names of a file; 1 for a directory, whose subdirectories nobody counted."""
        if self.attr.is_dir:
            return 1 if self.names or self.ino == ROOT else 0
        return len(self.names)

    @property
    def busy(self) -> bool:
        """True while this mount knows better than the store what the attributes are."""
        return bool(
            self.handles
            or (self.attrs_dirty and not self.late)
            or self.storing
            or self.etag is None
            or (self.content is not None and self.content.dirty)
        )

    @property
    def only_read(self) -> bool:
        """A file: those who have it open are all that keeps it, and none of them can write."""
        return bool(
            self.handles
            and not self.attr.is_dir
            and not self.writers
            and not self.attrs_dirty
            and not self.storing
            and self.etag is not None
            and not (self.content is not None and self.content.dirty)
        )

    def replaced(self, parent: Inode, name: str, stored: Attr, etag: ETag) -> bool:
        """Whether what is stored at a name is something else: another kind of thing, or no copy of this file.

        A file with one name is still the same one in another version.
        """
        if stat.S_IFMT(stored.mode) != stat.S_IFMT(self.attr.mode):
            return True
        if len(self.names) == 1:
            return False
        return etag != self.version(parent, name) or replace(stored, ctime_ns=self.attr.ctime_ns) != self.attr

    def version(self, parent: Inode, name: str) -> ETag | None:
        """What is stored at one of its names."""
        return self.copies.get((parent, name), self.etag)

    def has_version(self, parent: Inode, name: str, etag: ETag) -> None:
        """That is stored at one of its names now."""
        if self.names[0] == (parent, name):
            self.etag = etag
        elif self.copies:
            self.copies[parent, name] = etag
        else:
            self.copies = {(parent, name): etag}

    def merged(self, stored: Attr) -> Attr:
        """What the store says, with the times that it does not have yet."""
        if not self.late:
            return stored
        mtime, ctime = max(stored.mtime_ns, self.attr.mtime_ns), max(stored.ctime_ns, self.attr.ctime_ns)
        return replace(stored, mtime_ns=mtime, ctime_ns=ctime)

    def path(self) -> str:
        """Relative to the root of the mount, by the first name; "" for the root itself."""
        parts: list[str] = []
        node = self
        while node.names:
            node, name = node.names[0]
            parts.append(name)
        if node.ino != ROOT:
            raise Stale("the file has no name any more")
        return "/".join(reversed(parts))

    def ancestry(self) -> Iterator[Inode]:
        """Itself, then its parent, up to the root; by every name."""
        queue = [self]
        seen: set[Ino] = set()
        while queue:
            node = queue.pop()
            if node.ino in seen:
                continue
            seen.add(node.ino)
            yield node
            queue.extend(parent for parent, _ in node.names)

    def below(self) -> Iterator[Inode]:
        """Everything known under it, depth first, itself left out."""
        for child in list(self.children.values()):
            yield child
            yield from child.below()


def join(parent: Inode, name: str) -> str:
    """The path of a name in a directory."""
    path = parent.path()
    return f"{path}/{name}" if path else name


@dataclass(frozen=True, slots=True)
class InodeStatistics:
    """Inodes held, and the sum of the kernel's lookup counts."""

    inodes: int
    lookups: int


class InodeTable:
    """INVARIANT: an inode number is given once. INVARIANT: every name is in its parent's `children`."""

    def __init__(self, root: Attr) -> None:
        self._numbers = itertools.count(ROOT)
        self._by_ino: dict[Ino, Inode] = {}
        self._linked: OrderedDict[Ino, Inode] = OrderedDict()
        self._lookups = 0
        self.root = self._new(root, ETag(""))
        self.root.lookups = 1

    def statistics(self) -> InodeStatistics:
        return InodeStatistics(len(self._by_ino), self._lookups)

    def __iter__(self) -> Iterator[Inode]:
        return iter(list(self._by_ino.values()))

    def _new(self, attr: Attr, etag: ETag | None) -> Inode:
        inode = Inode(Ino(next(self._numbers)), attr, etag)
        self._by_ino[inode.ino] = inode
        return inode

    def spare_number(self) -> Ino:
        """A number that no inode has, or will ever have."""
        return Ino(next(self._numbers))

    def get(self, ino: Ino) -> Inode:
        """Raises NotFound for a number that the kernel should not know."""
        try:
            return self._by_ino[ino]
        except KeyError:
            raise NotFound(f"inode {ino} is not known") from None

    def add(self, parent: Inode, name: str, attr: Attr, etag: ETag | None) -> Inode:
        """A new inode under a free name."""
        inode = self._new(attr, etag)
        self.link(inode, parent, name, etag)
        return inode

    def link(self, inode: Inode, parent: Inode, name: str, etag: ETag | None) -> None:
        """One more name, which must be free, and the version that is stored there."""
        assert name not in parent.children, f"{name!r} is taken"
        parent.children[name] = inode
        inode.names.append((parent, name))
        if etag is not None:
            inode.has_version(parent, name, etag)
        if len(inode.names) > 1:
            self._linked[inode.ino] = inode
            self._linked.move_to_end(inode.ino)

    def unlink(self, parent: Inode, name: str) -> Inode:
        """Takes a name away. The inode stays while it is in use; what is stored at its next name counts then."""
        inode = parent.children.pop(name)
        first = inode.names[0] == (parent, name)
        inode.names.remove((parent, name))
        if inode.copies:
            copy = inode.copies.pop(inode.names[0] if first else (parent, name), None)
            inode.etag = copy if first else inode.etag
        for gone in parent.readers:
            gone.add(name)
        if len(inode.names) < 2:
            self._linked.pop(inode.ino, None)
        return inode

    def move(self, parent: Inode, name: str, new_parent: Inode, new_name: str, etag: ETag | None) -> None:
        """Gives an inode another name, which must be free, and the version that is stored there."""
        inode = self.unlink(parent, name)
        self.link(inode, new_parent, new_name, etag)

    def remember(self, inode: Inode, count: int = 1) -> Inode:
        """The kernel was told of this inode."""
        inode.lookups += count
        self._lookups += count
        return inode

    def forget(self, ino: Ino, count: int) -> None:
        """The kernel dropped `count` lookups."""
        inode = self._by_ino.get(ino)
        if inode is None:
            return
        inode.lookups -= count
        self._lookups -= count
        self.reap(inode)

    def reap(self, inode: Inode) -> None:
        """Drops an inode that nobody needs, then its parent if that was only kept for its sake."""
        while self._unused(inode):
            if len(inode.names) > 1:
                self._shed_linked()
                return
            del self._by_ino[inode.ino]
            if inode.content is not None:
                inode.content.forget()
                inode.content = None
            parent = inode.parent
            if parent is None:
                return
            parent.children.pop(inode.names[0][1], None)
            inode = parent

    def _unused(self, inode: Inode) -> bool:
        return not (
            inode.lookups > 0
            or inode.handles
            or inode.children
            or inode.attrs_dirty
            or inode.pins
            or inode.moving
            or inode.ino not in self._by_ino
            or (inode.content is not None and inode.content.dirty)
        )

    def _shed_linked(self) -> None:
        """Keeps the number of idle linked inodes bounded: the oldest loses all names but its first."""
        while len(self._linked) > MAX_LINKED:
            inode = next((node for node in self._linked.values() if self._unused(node)), None)
            if inode is None:
                return
            del self._linked[inode.ino]
            shed, inode.names[1:] = inode.names[1:], []
            inode.copies = _NO_COPIES
            for parent, name in shed:  # no `unlink`: the name is still stored, so open listings must show it
                del parent.children[name]
            for known in (inode, *(parent for parent, _ in shed)):
                self.reap(known)

    def check(self) -> None:
        """Raises AssertionError where an invariant does not hold."""
        for inode in self._by_ino.values():
            assert inode.lookups >= 0, f"{inode}: negative lookup count"
            assert not inode.attr.is_dir or len(inode.names) < 2, f"{inode}: directory with two names"
            assert set(inode.copies) <= set(inode.names[1:]), f"{inode}: versions of names that it has not"
            for parent, name in inode.names:
                assert parent.children.get(name) is inode, f"{inode}: not among its parent's children"
            for name, child in inode.children.items():
                assert (inode, name) in child.names, f"{child}: does not know its name {name!r}"
                assert child.ino in self._by_ino, f"{child}: a child that is not in the table"
