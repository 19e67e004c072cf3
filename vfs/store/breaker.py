"""Breaker: a store that does not answer is left alone, and one call at a time finds out whether it is back.

Stands under Retry: what is refused here waits there, without touching the wire. Closed, calls pass. After some
failures in a row it opens: calls are refused with the time until the next probe. When that has come the next call
passes as the probe (half-open), and all others are still refused. The probe's answer closes it, its failure opens
it again for twice as long, its cancellation leaves the probe to the next call.

Any answer is an answer, a refusal (ObjectNotFound, StoreDenied) or a "slow down" too: the store is there. That of
a call which had begun before the breaker opened counts as well, so recovery is noticed as soon as it can be.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

import structlog
import trio

from vfs.errors import KeyRefused, StoreAway, StoreError, StoreThrottled, StoreUnavailable
from vfs.store.base import ObjectStore
from vfs.store.layers import Call, Layer, T, Thunk

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 10.0
"""Seconds between probes: doubled by each that fails."""

PROBE_WAIT = 0.5
"""Seconds after which a call asks again that came while a probe was under way. Costs no request."""

UNASKED = frozenset({"presign", "usage"})
"""Answered by S3 clients without a request: they prove nothing, and refusing them would spare nothing."""

log = structlog.get_logger()


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """`since` is when it last opened or closed, seconds since the epoch; `cause` what it last opened for.

    `opened` counts how often it did, `refused` the calls that were not made.
    """

    state: State
    since: float
    cause: str
    opened: int
    refused: int


@dataclass(slots=True)
class _Outage:
    """Times are trio's. A probe is known by its own object: one that was overtaken must not count as the next."""

    begun: float
    next_probe: float
    last_failure: float
    pause: float = FIRST_PAUSE
    probe: object | None = None
    probe_begun: float = 0.0


class Breaker(Layer):
    """Opens after `failures` calls in a row that got no answer, whatever calls they were.

    When the store has been away for `hopeless_after` seconds the refusals say so (StoreAway.hopeless).
    """

    def __init__(self, inner: ObjectStore, hopeless_after: float, failures: int = 5) -> None:
        super().__init__(inner)
        self._hopeless_after = hopeless_after
        self._most_failures = failures
        self._failures = 0
        # INVARIANT: None exactly while closed; `_failures` counts only then.
        self._outage: _Outage | None = None
        self._since = time.time()
        self._cause = ""
        self._opened = 0
        self._refused = 0

    @property
    def state(self) -> State:
        if self._outage is None:
            return State.CLOSED
        return State.OPEN if self._outage.probe is None else State.HALF_OPEN

    def statistics(self) -> BreakerStatistics:
        return BreakerStatistics(self.state, self._since, self._cause, self._opened, self._refused)

    def check(self) -> None:
        assert 0 <= self._failures < self._most_failures
        assert self._outage is None or self._failures == 0

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        if call.name in UNASKED:
            return await thunk()
        probe = self._admitted(call)
        try:
            result = await thunk()
        except StoreThrottled:
            self._answered()
            raise
        except StoreUnavailable as error:
            self._unanswered(error, probe)
            raise
        except KeyRefused:  # may be found without asking
            raise
        except StoreError:
            self._answered()
            raise
        finally:
            if probe is not None and self._outage is not None and self._outage.probe is probe:
                self._outage.probe = None
        self._answered()
        return result

    def _admitted(self, call: Call) -> object | None:
        """The probe that this call is, or None for an ordinary one. Raises StoreAway."""
        outage = self._outage
        if outage is None:
            return None
        now = trio.current_time()
        if outage.probe is None and now >= outage.next_probe:
            outage.probe, outage.probe_begun = object(), now
            return outage.probe
        self._refused += 1
        wait = outage.next_probe - now if outage.probe is None else PROBE_WAIT
        text = f"the store has not answered for {now - outage.begun:.0f} s: {self._cause}"
        error = StoreAway(text, retry_after=wait, uncertain=False)
        error.hopeless = self._hopeless(outage)
        raise error

    def _hopeless(self, outage: _Outage) -> bool:
        """It has been away for long, and still was a moment ago.

        Nobody probes while nobody calls: the probe after a quiet hour may well succeed, so who comes meanwhile
        waits for it.
        """
        quiet = 0.0 if outage.probe is None else outage.probe_begun - outage.last_failure
        away = trio.current_time() - outage.begun
        return away >= self._hopeless_after and quiet <= 2 * LONGEST_PAUSE

    def _unanswered(self, error: StoreUnavailable, probe: object | None) -> None:
        now = trio.current_time()
        outage = self._outage
        if outage is None:
            self._failures += 1
            if self._failures >= self._most_failures:
                self._open(error, now)
        elif probe is not None and outage.probe is probe:
            outage.pause = min(outage.pause * 2, LONGEST_PAUSE)
            outage.next_probe = now + outage.pause
            outage.last_failure = now
            self._cause = str(error)

    def _open(self, error: StoreUnavailable, now: float) -> None:
        log.warning("store is away", cause=str(error), failures=self._failures)
        self._outage = _Outage(now, now + FIRST_PAUSE, now)
        self._failures = 0
        self._opened += 1
        self._since = time.time()
        self._cause = str(error)

    def _answered(self) -> None:
        self._failures = 0
        if self._outage is not None:
            log.info("store is back", seconds=round(trio.current_time() - self._outage.begun, 1))
            self._outage = None
            self._since = time.time()
