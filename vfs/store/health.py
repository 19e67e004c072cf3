"""How a store is doing, read from the layers around it: for `status` and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from vfs.store.base import ObjectStore
from vfs.store.breaker import Breaker, State
from vfs.store.layers import outermost
from vfs.store.retry import Retry


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """`state` is "answering" or "away", `cause` why, `since` seconds since the epoch; "" and 0 where nobody watches.

    `retries` counts attempts beyond the first, `settled` lost answers that turned out to be a success.
    """

    state: str = ""
    cause: str = ""
    since: float = 0.0
    retries: int = 0
    settled: int = 0
    given_up: int = 0


def health(store: ObjectStore) -> StoreHealth:
    """What is known at this moment. Asks the store nothing."""
    state = cause = ""
    since = 0.0
    retries = settled = given_up = 0
    if breaker := outermost(store, Breaker):
        seen = breaker.statistics()
        away = seen.state is not State.CLOSED
        state, cause, since = "away" if away else "answering", seen.cause if away else "", seen.since
    if retry := outermost(store, Retry):
        tries = retry.statistics()
        retries, settled, given_up = sum(tries.retries.values()), tries.settled, tries.given_up
    return StoreHealth(state, cause, since, retries, settled, given_up)
