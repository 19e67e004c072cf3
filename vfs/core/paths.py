"""Holds paths still: whoever uses a key pins its path, whoever changes keys waits for the pins.

A key is computed from the tree, and used in a request that takes a while. A rename in between would send the object
to a place where nobody looks for it. So operations pin the inodes whose keys they use, and renames and removals move
what they rename exclusively. All that one operation needs is taken at once or not at all: nobody holds one and waits
for another, so nobody can wait in a circle.

Newcomers let a rename that waits go first, or a busy directory could never be renamed. Who holds a pin already is no
newcomer: it may pin more, for the rename waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import trio

from vfs.core.inodes import Inode, InodeTable
from vfs.errors import StoreTimeout

_holding: ContextVar[bool] = ContextVar("holding", default=False)
"""This task, or the one that started it, has a pin or a move under way."""


class PathHeld(StoreTimeout):
    """A rename or an upload of this path, or of one above it, took too long."""


class Paths:
    """INVARIANT: `pins` of an inode counts the pins on it and on everything below; none while it is moving."""

    def __init__(self, table: InodeTable, timeout: float) -> None:
        self._table = table
        self._timeout = timeout
        self._changed = trio.lowlevel.ParkingLot()
        self._waiting: list[tuple[Inode, ...]] = []
        """What the moves that still wait for pins want to move."""

    def contested(self, inode: Inode) -> bool:
        """True while somebody waits to move this or a directory above it."""
        return any(node in movers for movers in self._waiting for node in inode.ancestry())

    @asynccontextmanager
    async def pinned(self, *inodes: Inode) -> AsyncIterator[None]:
        """The keys of these stay what they are."""
        newcomer = not _holding.get()

        def free() -> bool:
            if newcomer and self._waiting and any(self.contested(inode) for inode in inodes):
                return False
            return not any(node.moving for inode in inodes for node in inode.ancestry())

        await self._until(free)
        held = [node for inode in inodes for node in inode.ancestry()]
        for node in held:
            node.pins += 1
        token = _holding.set(True)
        try:
            yield
        finally:
            _holding.reset(token)
            self._unpin(held)

    @asynccontextmanager
    async def moving(self, movers: tuple[Inode, ...], *pinned: Inode) -> AsyncIterator[None]:
        """Nobody else uses a key of the `movers` or of anything below them; the keys of `pinned` stay."""
        unique = tuple(dict.fromkeys(movers))
        self._waiting.append(unique)
        try:
            await self._until(
                lambda: (
                    not any(mover.pins for mover in unique)
                    and not any(node.moving for inode in (*unique, *pinned) for node in inode.ancestry())
                )
            )
        finally:
            self._waiting.remove(unique)
            self._changed.unpark_all()
        parents = [parent for mover in unique for parent, _ in mover.names]
        held = [node for inode in (*pinned, *parents) for node in inode.ancestry()]
        for node in held:
            node.pins += 1
        for mover in unique:
            mover.moving = True
        token = _holding.set(True)
        try:
            yield
        finally:
            _holding.reset(token)
            for mover in unique:
                mover.moving = False
            self._unpin(held)
            for mover in unique:
                self._table.reap(mover)

    async def _until(self, free: Callable[[], bool]) -> None:
        """Returns in the same step in which `free` was true: the caller takes what it needs at once."""
        if free():
            return
        # One deadline for the whole wait: whoever else comes and goes wakes us, and must not start it anew.
        with trio.move_on_after(self._timeout) as scope:
            while not free():
                await self._changed.park()
        if scope.cancelled_caught:
            raise PathHeld(f"a rename or an upload held this path for {self._timeout:.0f} s")

    def _unpin(self, held: list[Inode]) -> None:
        for node in held:
            node.pins -= 1
        self._changed.unpark_all()
        for node in held:
            if not node.pins and not node.lookups:
                self._table.reap(node)
