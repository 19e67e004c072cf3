"""Leaves a Redis alone that does not answer, or answers so late that the store would be faster.

Closed, all calls pass. It opens after some failures in a row, or at once for a change that could not be told; then
calls are refused, which costs nothing, but for one at a time that finds out whether Redis is back. It opens for
slowness too: then questions are refused, and changes, which others wait for, still pass.

Synchronous, and used on the event loop only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog
import trio

FAILURES = 3
SLOW_ANSWERS = 6
"""In a row."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0
"""Seconds between probes: doubled by each that fails."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Outage:
    next_probe: float
    slow: bool
    pause: float = FIRST_PAUSE
    probing: bool = False


class Breaker:
    """`slow` is in seconds, for one answer. Trouble is over, and said to be, after `calm` seconds without any."""

    def __init__(self, slow: float, calm: float) -> None:
        self._slow = slow
        self._calm = calm
        self._failures = 0
        self._late = 0
        # INVARIANT: None exactly while closed.
        self._outage: _Outage | None = None
        self._told_at: float | None = None
        """When the log told of trouble; None once it told of its end."""
        self._closed_at = 0.0
        self.cause = ""
        self.since = time.time()
        self.refused = 0

    @property
    def closed(self) -> bool:
        return self._outage is None

    @property
    def silent(self) -> bool:
        """Open because nothing answers, not because it is slow."""
        return self._outage is not None and not self._outage.slow

    def pause(self) -> float:
        """Seconds until it is worth asking again."""
        if self._outage is None:
            return 0.0
        return max(self._outage.next_probe - trio.current_time(), 0.01)

    def admits(self, urgent: bool) -> bool:
        """Whether a call may be made; if so, `answered`, `failed` or `left` has to follow."""
        outage = self._outage
        if outage is None or (outage.slow and urgent):
            return True
        if not outage.probing and trio.current_time() >= outage.next_probe:
            outage.probing = True
            return True
        self.refused += 1
        return False

    def answered(self, seconds: float) -> None:
        """An answer came, after so many seconds beyond what its size explains."""
        self._failures = 0
        late = seconds > self._slow
        self._late = self._late + 1 if late else 0
        outage = self._outage
        if outage is None:
            if self._late >= SLOW_ANSWERS:
                self._open(f"answers take {seconds * 1000:.0f} ms", slow=True)
        elif not late:
            self._outage, self._closed_at = None, trio.current_time()
            self.since = time.time()
        else:
            outage.slow = True
            self._again(outage)
        self._tell_of_end()

    def failed(self, cause: str, at_once: bool = False) -> None:
        self._failures += 1
        outage = self._outage
        if outage is None:
            if at_once or self._failures >= FAILURES:
                self._open(cause, slow=False)
            return
        self.cause = cause
        if outage.slow and (at_once or self._failures >= FAILURES):
            outage.slow = False
        self._again(outage)

    def left(self) -> None:
        """The call was not made after all, or was cancelled."""
        if self._outage is not None:
            self._outage.probing = False

    def _again(self, outage: _Outage) -> None:
        if outage.probing:
            outage.pause = min(outage.pause * 2, LONGEST_PAUSE)
        outage.probing = False
        outage.next_probe = trio.current_time() + outage.pause

    def _tell_of_end(self) -> None:
        if self._told_at is None or self._outage is not None:
            return
        if trio.current_time() >= self._closed_at + self._calm:
            log.info("redis is back", seconds=round(self._closed_at - self._told_at, 1))
            self._told_at = None

    def _open(self, cause: str, slow: bool) -> None:
        now = trio.current_time()
        if self._told_at is None:
            log.warning("redis is slow, and not asked" if slow else "redis is away", cause=cause)
            self._told_at = now
        self._outage = _Outage(now + FIRST_PAUSE, slow)
        self.cause = cause
        self.since = time.time()
