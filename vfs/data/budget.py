"""One byte budget for all file data in RAM, dirty and clean.

Every buffer of file data is charged here while it lives. Clean data goes first: it can be read again. When that is
not enough, whoever brings more waits (back-pressure), and `Writeback` is woken to make dirty data clean. Nothing is
ever refused and nothing grows past the limit but the requests already in hand: at most `fuse_tasks` buffers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from vfs.errors import StoreTimeout


class Droppable(Protocol):
    """Holds clean data that can be dropped at any time between two awaits."""

    def drop_clean(self) -> None:
        """Drops it. The caller adjusts the budget by what was last told to `set_clean`."""


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """Bytes, and the count of tasks that wait for room."""

    limit: int
    used: int
    clean: int
    waiting: int
    peak: int


class Budget:
    """INVARIANT: used >= clean >= 0; clean is the sum over `_clean`."""

    def __init__(self, limit: int, timeout: float, on_pressure: Callable[[], None] | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.peak = 0
        self._timeout = timeout
        self._clean: OrderedDict[Droppable, int] = OrderedDict()
        self._clean_bytes = 0
        self._room = trio.lowlevel.ParkingLot()
        self._queue: deque[object] = deque()
        """Turns of those who wait. Only the first may go, or a steady stream of newcomers would starve them."""
        self._held_back = 0
        self.on_pressure = on_pressure or (lambda: None)

    def statistics(self) -> BudgetStatistics:
        return BudgetStatistics(self.limit, self.used, self._clean_bytes, len(self._queue), self.peak)

    @property
    def waiting(self) -> bool:
        return bool(self._queue)

    @property
    def dirty(self) -> int:
        return self.used - self._clean_bytes

    def charge(self, n: int) -> None:
        """Takes `n` bytes at once, limit or not: the buffer exists already. Negative gives back."""
        self.used += n
        self.peak = max(self.peak, self.used)
        if n < 0:
            self.wake()

    def wake(self) -> None:
        """Lets the waiting look again, or asks for more room when there is still none."""
        if not self._queue:
            return
        if self._fits():
            self._room.unpark_all()
        else:
            self.on_pressure()

    def try_charge(self, n: int) -> bool:
        """Takes `n` bytes if they fit without making anybody wait; for read-ahead and other luxuries."""
        if self._queue or self.used - self._clean_bytes + n > self.limit // 2:
            return False
        self._shed(self.limit - n)
        self.charge(n)
        return True

    async def room(self, n: int) -> None:
        """Returns when there is room again for a task that brings `n` bytes and holds them while it waits.

        Raises StoreTimeout when that takes too long.
        """
        if not self._queue and self._fits():
            return
        turn = object()
        self._queue.append(turn)
        self._held_back += n
        try:
            with trio.move_on_after(self._timeout) as scope:
                while self._queue[0] is not turn or not self._fits():
                    self.on_pressure()
                    await self._room.park()
        finally:
            self._held_back -= n
            self._queue.remove(turn)
            self._room.unpark_all()
        if scope.cancelled_caught:
            raise StoreTimeout(
                f"no room under the RAM limit for {self._timeout:.0f} s: the store does not keep up"
            )

    def _fits(self) -> bool:
        """What those who wait hold in their hands is RAM too, but must not keep them waiting for ever."""
        limit = max(self.limit - self._held_back, self.limit // 2)
        self._shed(limit)
        return self.used <= limit

    def _shed(self, limit: int) -> None:
        """Drops clean data, the longest unused first, until `used` is at most `limit`."""
        while self._clean and self.used > limit:
            victim, n = self._clean.popitem(last=False)
            victim.drop_clean()
            self._clean_bytes -= n
            self.used -= n

    def set_clean(self, holder: Droppable, n: int) -> None:
        """`holder` keeps `n` bytes of clean data from now on, most recently used of all. 0 removes it.

        The bytes count as used from here; what the holder had before is given back.
        """
        before = self._clean.pop(holder, 0)
        self._clean_bytes += n - before
        self.charge(n - before)
        if n:
            self._clean[holder] = n

    def touch(self, holder: Droppable) -> None:
        """Marks the holder's clean data as just used."""
        if holder in self._clean:
            self._clean.move_to_end(holder)

    def check(self) -> None:
        """Raises AssertionError where an invariant does not hold."""
        assert self._clean_bytes == sum(self._clean.values()), "clean bytes do not add up"
        assert self.used >= self._clean_bytes >= 0, "used is less than clean"
