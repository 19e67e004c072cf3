"""The breaker of the shared cache: when it opens, for what, who probes, and what it says."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vfs.meta.redis.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, SLOW_ANSWERS, Breaker


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(0.1, 5.0)


def opened(breaker: Breaker) -> Breaker:
    breaker.failed("nobody is there", at_once=True)
    return breaker


async def test_opens_after_failures_in_a_row(breaker: Breaker, autojump_clock: MockClock) -> None:
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed("x")
        breaker.answered(0.0)
    assert breaker.closed
    for number in range(FAILURES):
        assert breaker.closed
        breaker.failed(f"cause {number}")
    assert (breaker.closed, breaker.silent, breaker.cause) == (False, True, f"cause {FAILURES - 1}")


async def test_opens_at_once_for_what_could_not_be_told(breaker: Breaker, autojump_clock: MockClock) -> None:
    assert not opened(breaker).closed
    assert not breaker.admits(urgent=True)
    assert breaker.refused == 1


async def test_one_at_a_time_probes_ever_more_rarely(breaker: Breaker, autojump_clock: MockClock) -> None:
    opened(breaker)
    pause = FIRST_PAUSE
    for _ in range(8):
        assert breaker.pause() == pytest.approx(pause)
        await trio.sleep(pause - 0.01)
        assert not breaker.admits(urgent=True)
        await trio.sleep(0.01)
        assert breaker.admits(urgent=False)
        assert not breaker.admits(urgent=True)
        breaker.failed("still nobody")
        pause = min(pause * 2, LONGEST_PAUSE)
    assert breaker.cause == "still nobody"


async def test_a_probe_that_was_cancelled_is_left_to_the_next(
    breaker: Breaker, autojump_clock: MockClock
) -> None:
    opened(breaker)
    await trio.sleep(FIRST_PAUSE)
    assert breaker.admits(urgent=False)
    breaker.left()
    assert breaker.admits(urgent=False)


async def test_an_answer_closes(breaker: Breaker, autojump_clock: MockClock) -> None:
    opened(breaker)
    breaker.answered(0.0)
    assert breaker.closed
    assert breaker.pause() == 0
    assert breaker.admits(urgent=False)


async def test_slow_answers_keep_questions_away_but_not_changes(
    breaker: Breaker, autojump_clock: MockClock
) -> None:
    for _ in range(SLOW_ANSWERS - 1):
        breaker.answered(0.2)
    breaker.answered(0.05)
    for _ in range(SLOW_ANSWERS):
        assert breaker.closed
        breaker.answered(0.2)
    assert (breaker.closed, breaker.silent, breaker.cause) == (False, False, "answers take 200 ms")
    assert not breaker.admits(urgent=False)
    assert breaker.admits(urgent=True)
    await trio.sleep(FIRST_PAUSE)
    assert breaker.admits(urgent=False)
    assert not breaker.admits(urgent=False)
    breaker.answered(0.2)
    assert breaker.pause() == pytest.approx(2 * FIRST_PAUSE)
    breaker.answered(0.05)
    assert breaker.closed


async def test_slow_may_become_silent(breaker: Breaker, autojump_clock: MockClock) -> None:
    for _ in range(SLOW_ANSWERS):
        breaker.answered(0.2)
    breaker.failed("gone", at_once=True)
    assert (breaker.silent, breaker.cause) == (True, "gone")
    assert not breaker.admits(urgent=True)


async def test_silent_that_answers_slowly_takes_changes(breaker: Breaker, autojump_clock: MockClock) -> None:
    opened(breaker)
    breaker.answered(0.2)
    assert (breaker.closed, breaker.silent) == (False, False)


async def test_says_once_when_it_opens_and_once_when_it_closes(
    breaker: Breaker, autojump_clock: MockClock
) -> None:
    with capture_logs() as lines:
        for _ in range(10):
            breaker.failed("nobody is there")
        await trio.sleep(7)
        breaker.answered(0.0)
        await trio.sleep(4)
        breaker.answered(0.0)
        opened(breaker)
        await trio.sleep(4)
        breaker.answered(0.0)
        await trio.sleep(4)
        breaker.answered(0.0)
        assert len(lines) == 1, "it may be the same trouble still"
        await trio.sleep(2)
        breaker.answered(0.0)
        breaker.answered(0.0)
    assert lines == [
        {"event": "redis is away", "cause": "nobody is there", "log_level": "warning"},
        {"event": "redis is back", "seconds": pytest.approx(15), "log_level": "info"},
    ]
