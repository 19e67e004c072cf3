"""Breaker alone: when it opens, who probes, what closes it, and what it says meanwhile."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import FaultStore, MemoryStore
from vfs.errors import (
    KeyRefused,
    ObjectNotFound,
    StoreAway,
    StoreDenied,
    StoreError,
    StoreThrottled,
    StoreUnavailable,
)
from vfs.store.base import ObjectMeta
from vfs.store.breaker import LONGEST_PAUSE, PROBE_WAIT, Breaker, State
from vfs.types import Key

KEY = Key("k")
META = ObjectMeta()
HOPELESS = 60.0


@pytest.fixture
def faults() -> FaultStore:
    return FaultStore(MemoryStore())


@pytest.fixture
def breaker(faults: FaultStore) -> Breaker:
    return Breaker(faults, HOPELESS)


async def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            await breaker.put(KEY, [b"x"], META)
        breaker.check()


async def refused(breaker: Breaker) -> StoreAway:
    with pytest.raises(StoreAway) as caught:
        await breaker.head(KEY)
    assert not caught.value.uncertain
    return caught.value


async def test_opens_after_failures_in_a_row(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.away()
    await fail(breaker, 4)
    assert breaker.statistics().state is State.CLOSED
    await fail(breaker)
    assert breaker.statistics().state is State.OPEN
    asked = len(faults.log)
    error = await refused(breaker)
    assert error.retry_after == pytest.approx(1)
    assert "nobody answers" in str(error)
    assert len(faults.log) == asked == 5
    numbers = breaker.statistics()
    assert (numbers.state, numbers.opened, numbers.refused) == (State.OPEN, 1, 1)
    assert "nobody answers" in numbers.cause


async def test_any_answer_resets_the_count(faults: FaultStore, breaker: Breaker) -> None:
    for _ in range(3):
        faults.fail_before(count=4)
        await fail(breaker, 4)
        with pytest.raises(ObjectNotFound):
            await breaker.head(KEY)
    assert breaker.statistics().state is State.CLOSED


async def test_throttling_does_not_open(faults: FaultStore, breaker: Breaker) -> None:
    faults.throttle(count=20, retry_after=3.0)
    for _ in range(20):
        with pytest.raises(StoreThrottled) as caught:
            await breaker.put(KEY, [b"x"], META)
        assert caught.value.retry_after == 3.0
    assert breaker.statistics().state is State.CLOSED


async def test_probes_ever_more_rarely(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.away()
    await fail(breaker, 5)
    for pause in (1, 2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE):
        error = await refused(breaker)
        assert error.retry_after == pytest.approx(pause)
        await trio.sleep(pause - 0.01)
        await refused(breaker)
        await trio.sleep(0.01)
        asked = len(faults.log)
        await fail(breaker)
        assert len(faults.log) == asked + 1


@pytest.mark.parametrize("answer", [None, ObjectNotFound, StoreDenied, StoreThrottled, StoreError])
async def test_any_answer_closes(
    answer: type[StoreError] | None, faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.fail_before(count=5)
    await fail(breaker, 5)
    await trio.sleep(1)
    if answer is None:
        await breaker.put(KEY, [b"x"], META)
    else:
        faults.fail_before(error=lambda: answer("an answer"))
        with pytest.raises(answer):
            await breaker.put(KEY, [b"x"], META)
    assert breaker.statistics().state is State.CLOSED
    await breaker.put(KEY, [b"x"], META)


async def test_what_was_found_without_asking_proves_nothing(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.fail_before(count=5)
    await fail(breaker, 5)
    await trio.sleep(1)
    faults.fail_before(error=lambda: KeyRefused("too long"))
    with pytest.raises(KeyRefused):
        await breaker.put(KEY, [b"x"], META)
    assert breaker.statistics().state is State.OPEN
    await breaker.put(KEY, [b"x"], META)
    assert breaker.statistics().state is State.CLOSED


async def test_calls_without_a_request_pass(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    await breaker.put(KEY, [b"x"], META)
    faults.fail_before("put", count=5)
    await fail(breaker, 5)
    assert await breaker.presign(KEY, 60)
    assert await breaker.usage() is None
    assert breaker.statistics().state is State.OPEN


async def test_a_single_probe(faults: FaultStore, breaker: Breaker, autojump_clock: MockClock) -> None:
    faults.fail_before(count=5)
    await fail(breaker, 5)
    await trio.sleep(1)
    faults.slow(seconds=3, count=1)
    asked = len(faults.log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.put, KEY, [b"x"], META)
        await wait_all_tasks_blocked(0.001)
        assert breaker.statistics().state is State.HALF_OPEN
        for _ in range(20):
            error = await refused(breaker)
            assert (error.retry_after, error.hopeless) == (PROBE_WAIT, False)
        assert len(faults.log) == asked + 1
    assert breaker.statistics().state is State.CLOSED


async def test_a_cancelled_probe_leaves_it_to_the_next(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.fail_before(count=5)
    await fail(breaker, 5)
    await trio.sleep(1)
    faults.slow(seconds=100, count=1)
    with trio.move_on_after(2):
        await breaker.put(KEY, [b"x"], META)
    assert breaker.statistics().state is State.OPEN
    await breaker.put(KEY, [b"x"], META)
    assert breaker.statistics().state is State.CLOSED


async def test_calls_that_had_begun_before(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    """Their failures are old news; their answers are not."""
    faults.slow("get", seconds=0.5, count=1)
    faults.fail_before("get", count=1)
    async with trio.open_nursery() as nursery:

        async def late(kind: type[StoreError]) -> None:
            with pytest.raises(kind):
                await breaker.get(KEY)

        nursery.start_soon(late, StoreUnavailable)
        await wait_all_tasks_blocked(0.001)
        faults.fail_before("put", count=5)
        await fail(breaker, 5)
        begun = trio.current_time()
        await trio.sleep(0.7)
        assert (await refused(breaker)).retry_after == pytest.approx(1 - (trio.current_time() - begun))
    await trio.sleep(1)
    await breaker.put(KEY, [b"x"], META)
    faults.slow("delete", seconds=0.5, count=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.delete, KEY)
        await wait_all_tasks_blocked(0.001)
        faults.fail_before("put", count=5)
        await fail(breaker, 5)
        await refused(breaker)
        await trio.sleep(0.6)
        assert breaker.statistics().state is State.CLOSED


async def test_an_overtaken_probe_does_not_count_as_the_next(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.slow("delete", seconds=3, count=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.delete, KEY)
        await wait_all_tasks_blocked(0.001)
        faults.fail_before("put", count=5)
        await fail(breaker, 5)
        await trio.sleep(1)
        faults.slow("get", seconds=4, count=1)
        faults.fail_before("get")

        async def probe() -> None:
            with pytest.raises(StoreUnavailable):
                await breaker.get(KEY)

        nursery.start_soon(probe)
        await trio.sleep(2.5)
        assert breaker.statistics().state is State.CLOSED
        faults.fail_before("put", count=5)
        await fail(breaker, 5)
        await trio.sleep(1)
        faults.slow("list", seconds=3, count=1)
        nursery.start_soon(breaker.list, "")
        await trio.sleep(1)
        assert breaker.statistics().state is State.HALF_OPEN
        assert (await refused(breaker)).retry_after == PROBE_WAIT
    assert breaker.statistics().state is State.CLOSED


async def test_hopeless_after_a_while(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.away()
    await fail(breaker, 5)
    begun = trio.current_time()
    while trio.current_time() - begun < 2 * HOPELESS:
        with pytest.raises(StoreUnavailable) as caught:
            await breaker.head(KEY)
        if isinstance(caught.value, StoreAway):
            assert caught.value.hopeless == (trio.current_time() - begun >= HOPELESS)
        await trio.sleep(0.7)


async def test_a_probe_that_hangs_is_hopeless_too(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.fail_before(count=5)
    await fail(breaker, 5)
    await trio.sleep(1)
    faults.slow(seconds=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.put, KEY, [b"x"], META)
        await trio.sleep(30)
        assert not (await refused(breaker)).hopeless
        await trio.sleep(30)
        assert (await refused(breaker)).hopeless
        nursery.cancel_scope.cancel()


async def test_a_probe_after_a_quiet_hour_is_not_hopeless(
    faults: FaultStore, breaker: Breaker, autojump_clock: MockClock
) -> None:
    faults.fail_before(count=5)
    await fail(breaker, 5)
    await trio.sleep(3600)
    faults.slow(seconds=3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.put, KEY, [b"x"], META)
        await wait_all_tasks_blocked(0.001)
        assert not (await refused(breaker)).hopeless
    assert breaker.statistics().state is State.CLOSED


async def test_logs_only_changes(faults: FaultStore, breaker: Breaker, autojump_clock: MockClock) -> None:
    with capture_logs() as lines:
        faults.away(6)
        await fail(breaker, 5)
        for _ in range(12):
            await trio.sleep(0.5)
            with pytest.raises(StoreUnavailable):
                await breaker.put(KEY, [b"x"], META)
        await trio.sleep(5)
        await breaker.put(KEY, [b"x"], META)
        await breaker.put(KEY, [b"x"], META)
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "store is away"),
        ("info", "store is back"),
    ]
    assert lines[0]["cause"] == "a fault was injected: nobody answers"
    assert lines[1]["seconds"] == pytest.approx(11)
