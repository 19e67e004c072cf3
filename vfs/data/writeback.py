"""Makes dirty data clean when RAM is short: the other half of back-pressure.

Every content with dirty bytes is known here. When somebody waits for room, large ones that nobody is storing
already are stored, a few at once. Their programs notice nothing but a pause.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from vfs.data.budget import Budget
from vfs.data.content import Content

VICTIMS = 4
"""Contents committed at once because of pressure."""

Spill = Callable[[Content], Awaitable[None]]
"""Commits one content with its path pinned. Raises no VfsError: a failure sticks to the content."""


class Writeback:
    """INVARIANT: every content that is dirty is in `_dirty`."""

    def __init__(self, budget: Budget, spill: Spill) -> None:
        self._budget = budget
        self._spill = spill
        self._dirty: set[Content] = set()
        self._spilling: set[Content] = set()
        self._pressure = trio.Event()
        budget.on_pressure = self._wake

    def _wake(self) -> None:
        self._pressure.set()

    def note(self, content: Content) -> None:
        """To be called after every change that makes a content dirty or clean."""
        if content.dirty:
            self._dirty.add(content)
        else:
            self._dirty.discard(content)

    @property
    def dirty(self) -> frozenset[Content]:
        return frozenset(self._dirty)

    async def run(self) -> None:
        """Serves until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._pressure.wait()
                self._pressure = trio.Event()
                while self._budget.waiting and len(self._spilling) < VICTIMS:
                    victim = self._victim()
                    if victim is None:
                        break
                    self._spilling.add(victim)
                    nursery.start_soon(self._one, victim)

    def _victim(self) -> Content | None:
        """Of those with much to free, the one whose stored part is smallest: a commit copies that."""
        waiting = self._dirty - self._spilling
        idle = [c for c in waiting if not c.lock.locked() and c.error is None and c.spillable]
        enough = max((content.spillable for content in idle), default=0) // 2
        return min((c for c in idle if c.spillable >= enough), key=lambda c: c.base_limit, default=None)

    async def _one(self, victim: Content) -> None:
        try:
            await self._spill(victim)
        finally:
            self._spilling.discard(victim)
            self.note(victim)
            self._budget.wake()
