"""Room for what all readers read ahead, under the one budget: who stopped reading gives up what it was given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import trio

from vfs.data.budget import Budget

IDLE_SECONDS = 2.0
"""A program that has not read for so long has stopped, and its read-ahead serves others better."""

Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class Ahead(Protocol):
    """Somebody who was given room."""

    def drop_ahead(self) -> None:
        """Gives all of it back at once."""


class ReadAhead:
    """One for the whole mount. `window` is the most that one reader may be ahead, bytes."""

    def __init__(self, budget: Budget, spawn: Spawn, window: int) -> None:
        self.spawn = spawn
        self.window = window
        self._budget = budget
        self._last: OrderedDict[Ahead, float] = OrderedDict()
        """Who has room, the one that has not read for longest first, and when it read."""

    def take(self, reader: Ahead, n: int) -> bool:
        """Gives `n` bytes of room to a reader, that of the idle if need be; False if there is none."""
        if not self._budget.try_charge(n) and not (self._drop_idle(reader) and self._budget.try_charge(n)):
            return False
        self.used(reader)
        return True

    def give_back(self, n: int) -> None:
        self._budget.charge(-n)

    def used(self, reader: Ahead) -> None:
        """The reader is alive."""
        self._last[reader] = trio.current_time()
        self._last.move_to_end(reader)

    def leave(self, reader: Ahead) -> None:
        """The reader has given everything back."""
        self._last.pop(reader, None)

    def _drop_idle(self, reader: Ahead) -> bool:
        """Takes the room of those who stopped reading; False if there were none."""
        since = trio.current_time() - IDLE_SECONDS
        idle = [other for other, last in self._last.items() if last < since and other is not reader]
        for other in idle:
            other.drop_ahead()
            self.leave(other)
        return bool(idle)
