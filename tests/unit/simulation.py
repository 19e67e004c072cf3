"""Runs an async test under hypothesis: time jumps, and the order of tasks is a function of the seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import trio
from trio.testing import MockClock

T = TypeVar("T")

LONGEST = 10_000.0
"""Seconds of simulated time after which a test counts as hung: longer than any deadline of the project."""


def simulate(main: Callable[[], Awaitable[T]], seed: int = 0) -> T:
    """The result of `main`. Raises trio.TooSlowError where it waits for ever."""

    async def bounded() -> T:
        with trio.fail_after(LONGEST):
            return await main()

    scheduler = trio._core._run
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    scheduler._r = Random(seed)  # type: ignore[attr-defined]
    try:
        return trio.run(bounded, clock=MockClock(autojump_threshold=0))
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[attr-defined]
