"""The content of one inode: a stored base, dirty extents on top of it, and a size.

    live      what was written since the last freeze
    shipping  whole parts that are on their way to, or in, a multipart upload and have left `live`
    frozen    what a running commit is storing; nobody changes it
    clean     bytes equal to the base, kept because they are likely to be wanted again
    base      the stored version; bytes at or past `base_limit` are gone (a truncate) and read as zeros

Everything here is synchronous: state changes between two awaits and cannot be torn. The I/O is in `commit`,
`stream` and `reader`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import trio

from vfs.data.budget import Budget
from vfs.data.extents import Extents, Piece
from vfs.data.snapshot import Base, Snapshot, Stream, Subject
from vfs.errors import VfsError
from vfs.store.base import Body, ObjectInfo, ObjectMeta
from vfs.types import Buffer

_ZEROS = bytes(1 << 20)
"""All holes are views of this one buffer."""


class Content:
    """State of one file's bytes.

    INVARIANT: `charged` is what this content holds of the budget beside its clean bytes.
    INVARIANT: no part is both shipped and covered by `live`.
    """

    __slots__ = (
        "appended",
        "base",
        "base_limit",
        "budget",
        "changed",
        "charged",
        "clean",
        "edited",
        "error",
        "frozen",
        "frozen_edited",
        "frozen_limit",
        "live",
        "lock",
        "part_size",
        "rebased",
        "replaced",
        "rest",
        "shipper",
        "shipping",
        "size",
        "spreading",
        "stream",
        "subject",
    )

    def __init__(self, subject: Subject, budget: Budget, part_size: int, base: Base | None) -> None:
        self.subject = subject
        self.budget = budget
        self.part_size = part_size
        self.base = base
        self.base_limit = self.size = base.size if base else 0
        self.live = Extents()
        self.frozen: Extents | None = None
        self.frozen_limit = 0
        self.clean = Extents()
        self.changed = base is None
        """The object must be written: there is no base, or size or bytes differ from it."""
        self.appended = False
        """Its writers append (O_APPEND)."""
        self.edited = self.frozen_edited = False
        """Something else than an append was done since the last commit began; and before it, since the one before."""
        self.rebased = math.inf
        """Appends went behind another writer's: from here on the kernel may be wrong about where the end is."""
        self.replaced = 0
        """How often readers went on with another version."""
        self.spreading = False
        """A commit is copying what it stored at the first name to the others."""
        self.rest = False
        """The commit that ran last had to leave the end of the file to another."""
        self.shipping: dict[int, int] = {}
        """Part number -> bytes still in RAM (0 once stored)."""
        self.stream: Stream | None = None
        self.shipper = False
        """A shipping task is running."""
        self.error: VfsError | None = None
        """Sticky: a write that was accepted could not be stored. Every later write, fsync and close says so."""
        self.charged = 0
        self.lock = trio.Lock()
        """Held by the one commit that runs, or while attributes are stored. Taken after a path pin, never before."""

    def __repr__(self) -> str:
        state = "dirty" if self.dirty else "clean"
        return f"<Content {state} size={self.size} base={self.base} live={self.live} error={self.error!r}>"

    @property
    def dirty(self) -> bool:
        return self.changed or self.spreading or self.frozen is not None

    @property
    def spillable(self) -> int:
        """Bytes of RAM that a commit would free."""
        return self.live.cost

    # -- writing ---------------------------------------------------------------------------------------------

    def shipped(self, start: int, end: int) -> bool:
        """True if a part of [start, end) has left RAM for an upload that is not complete."""
        if not self.shipping or start >= end:
            return False
        first, last = start // self.part_size + 1, (end - 1) // self.part_size + 1
        if last - first < len(self.shipping):
            return any(number in self.shipping for number in range(first, last + 1))
        return any(first <= number <= last for number in self.shipping)

    def write(self, offset: int, data: bytes, *, append: bool = False) -> None:
        """Puts `data` on top. The caller made sure that nothing it touches is shipped."""
        if append:
            self.appended = True
        else:
            self.edited = True
        self.live.write(offset, data)
        self.size = max(self.size, offset + len(data))
        self.changed = True
        self.settle()

    def truncate(self, size: int) -> None:
        """Sets the size; what a growing file gains reads as zeros. Shipped parts must end at or before `size`."""
        if size < self.size:
            self.live.cut(size)
            self.frozen_limit = min(self.frozen_limit, size)
            self.base_limit = min(self.base_limit, size)
            self._keep_clean(size)
        self.size = size
        self.edited = self.changed = True
        self.settle()

    def settle(self) -> None:
        """Brings the budget up to date with what is held."""
        held = self.live.cost + sum(self.shipping.values())
        if self.frozen is not None:
            held += self.frozen.cost
        if held != self.charged:
            self.budget.charge(held - self.charged)
            self.charged = held

    def fail(self, error: VfsError) -> None:
        """Makes the error stick. What was dirty will never be stored, so its RAM is given back."""
        if self.error is None:
            self.error = error
        self.live = Extents()
        for number in self.shipping:
            self.shipping[number] = 0
        self.settle()

    def raise_error(self) -> None:
        """Raises the sticky error, a fresh one each time so that tracebacks do not grow."""
        if self.error is not None:
            raise type(self.error)(*self.error.args) from self.error

    def drop_stream(self) -> Stream | None:
        """Gives up what was sent; the caller holds `lock`, and aborts the upload that is returned."""
        stream, self.stream = self.stream, None
        self.shipping.clear()
        self.settle()
        return stream

    # -- reading ---------------------------------------------------------------------------------------------

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """Covers [start, min(end, size)): data from RAM, zeros from holes, and None for bytes of the base."""
        end = min(end, self.size)
        layers = ((self.live, end), (self.frozen, self.frozen_limit), (self.clean, self.base_limit))
        return _stacked(layers, self.base_limit, start, end)

    def whole(self) -> Body | None:
        """All bytes, if RAM has them and they are what is stored; at most a part."""
        if self.dirty or self.size > self.part_size:
            return None
        pieces = [piece.data for piece in self.pieces(0, self.size)]
        known = [data for data in pieces if data is not None]
        return known if len(known) == len(pieces) else None

    def stored_pieces(self, snapshot: Snapshot, start: int, end: int) -> Iterator[Piece]:
        """The same of what a commit stores: as it was at the freeze, whatever was truncated since."""
        layers = ((self.frozen, snapshot.size), (self.clean, snapshot.base_limit))
        return _stacked(layers, snapshot.base_limit, start, end)

    # -- committing ------------------------------------------------------------------------------------------

    def freeze(self, max_parts: int, *, late_meta: bool = True) -> Snapshot:
        """What is dirty now becomes what the commit stores; new writes go on top of it.

        A stream takes `max_parts` parts and no more: what lies past them is the `rest`, for a commit of its own.
        Without `late_meta` the store would take a copy to change what a stream was begun with.
        """
        assert self.frozen is None, "a commit is running"
        size = self.size
        if self.stream is not None:
            size = min(size, max_parts * self.part_size)
        snapshot = Snapshot(
            size,
            self._meta(late_meta),
            self.base,
            self.base_limit,
            self.subject.keys(),
            self._only_appended(),
            self.base.etag if self.base else None,
        )
        self.edited, self.frozen_edited = False, self.edited
        self.frozen, self.live = self.live, self.live.split(size)
        self.frozen_limit = size
        self.rest = self.changed = size < self.size
        return snapshot

    def _meta(self, late_meta: bool) -> ObjectMeta:
        meta = self.subject.meta()
        if (
            late_meta
            or self.stream is None
            or meta == self.stream.meta
            or not self.subject.accept(self.stream.meta)
        ):
            return meta
        return self.stream.meta

    def _only_appended(self) -> bool:
        whole = self.base_limit == (self.base.size if self.base else 0)
        return self.appended and not self.edited and whole and not self.rest

    def append_to(self, snapshot: Snapshot, info: ObjectInfo) -> Snapshot | None:
        """Puts what was appended behind another version of the object; None if there is more than that to it.

        To be called while the snapshot is frozen. Nothing of it is in an upload afterwards but what is still here.
        """
        assert self.frozen is not None
        if not snapshot.appends or self.edited or self.shipping or self.rest:
            return None
        if any(start < snapshot.base_limit for extents in (self.frozen, self.live) for start, _ in extents):
            return None
        by = info.size - snapshot.base_limit
        self.rebased = min(self.rebased, snapshot.base_limit, info.size)
        for extents in (self.frozen, self.live):
            extents.shift(by)
        self.base = Base(info.key, info.etag, info.size)
        self.base_limit = info.size
        self.frozen_limit += by
        self.size += by
        self.clean = Extents()
        self._keep_clean(0)
        size = snapshot.size + by
        return replace(
            snapshot, size=size, base=self.base, base_limit=info.size, expected=info.etag, replaced=False
        )

    def thaw(self) -> None:
        """The commit failed: what it was storing is dirty again, under what was written meanwhile."""
        assert self.frozen is not None
        frozen, self.frozen = self.frozen, None
        self.changed = True
        self.edited |= self.frozen_edited
        if self.error is None:
            frozen.cut(self.frozen_limit)
            frozen.overlay(self.live)
            self.live = frozen
        self.send_again()
        self.settle()

    def send_again(self) -> None:
        """The next commit sends what the last one sent: a part of it may hold more than its number says."""
        if self.stream is not None:
            self.stream.parts = {n: part for n, part in self.stream.parts.items() if n in self.shipping}

    def committed(self, snapshot: Snapshot, info: ObjectInfo) -> None:
        """The object at the first key is the snapshot now. Small contents stay in RAM, as clean data."""
        assert self.frozen is not None
        frozen, self.frozen = self.frozen, None
        limit = self.frozen_limit
        self.base = Base(info.key, info.etag, info.size)
        self.base_limit = min(limit, info.size)
        self.shipping.clear()
        self.stream = None
        if snapshot.size <= self.part_size:
            self.clean.overlay(frozen)
        else:
            self.clean = Extents()
        self.settle()
        self._keep_clean(self.base_limit)

    def rebase(self, info: ObjectInfo) -> None:
        """The same bytes are another object version now (renamed, copied, new attributes)."""
        if self.base is not None:
            self.base = Base(info.key, info.etag, self.base.size)

    def replace(self, base: Base) -> None:
        """Another version takes the place of one that nobody has written to, nor seen anything of."""
        assert not self.dirty, "what was written belongs to the old version"
        self.base = base
        self.base_limit = self.size = base.size
        self.replaced += 1
        self._keep_clean(0)

    def detach(self) -> bool:
        """Makes RAM the only place of a content whose object is gone; False if RAM does not hold all of it."""
        if self.dirty or self.base_limit != self.size or not self.clean.covers(0, self.size):
            return False
        self.live, self.clean = self.clean, Extents()
        self.base, self.base_limit, self.changed = None, 0, True
        self._keep_clean(0)
        self.settle()
        return True

    def remember(self, offset: int, data: Buffer) -> None:
        """Keeps bytes just read from the base of a small file."""
        self.clean.write(offset, bytes(data))
        self._keep_clean(self.base_limit)

    def _keep_clean(self, size: int) -> None:
        self.clean.cut(size)
        self.budget.set_clean(self, self.clean.cost)

    def drop_clean(self) -> None:
        """Droppable: the budget needs the room."""
        self.clean = Extents()

    def forget(self) -> None:
        """Gives up all RAM: nobody has the file open and what is dirty, if anything, is not wanted."""
        self.live = Extents()
        self.frozen = None
        self.shipping.clear()
        self.changed = False
        self._keep_clean(0)
        self.settle()

    def check(self) -> None:
        """Raises AssertionError where an invariant does not hold."""
        self.live.check()
        self.clean.check()
        held = self.live.cost + sum(self.shipping.values()) + (self.frozen.cost if self.frozen else 0)
        assert self.charged == held, f"charged {self.charged}, held {held}"
        for number in self.shipping:
            start = (number - 1) * self.part_size
            assert not self.live.touches(start, start + self.part_size), f"part {number} is shipped and dirty"


Layers = Sequence[tuple[Extents | None, int]]
"""From the top down; each holds good up to a limit, past which it is as if it were not there."""


def _stacked(layers: Layers, base_limit: int, start: int, end: int) -> Iterator[Piece]:
    """Covers [start, end): each byte from the highest layer that has it, else from the base, else zero."""
    if start >= end:
        return
    if not layers:
        yield from _bottom(base_limit, start, end)
        return
    (layer, limit), below = layers[0], layers[1:]
    upto = min(end, limit) if layer else start
    if layer and upto > start:
        for piece in layer.pieces(start, upto):
            if piece.data is None:
                yield from _stacked(below, base_limit, piece.start, piece.start + piece.length)
            else:
                yield piece
    yield from _stacked(below, base_limit, max(upto, start), end)


def _bottom(base_limit: int, start: int, end: int) -> Iterator[Piece]:
    stored = min(end, base_limit)
    if stored > start:
        yield Piece(start, stored - start, None)
    for at in range(max(start, stored), end, len(_ZEROS)):
        length = min(len(_ZEROS), end - at)
        yield Piece(at, length, memoryview(_ZEROS)[:length])
