"""One byte budget: clean data goes first, then writers wait, in order, and not for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vfs.data.budget import Budget
from vfs.errors import StoreTimeout

LIMIT = 1000
TIMEOUT = 30.0


class Clean:
    """A holder of clean data."""

    def __init__(self, budget: Budget, n: int) -> None:
        self.dropped = 0
        budget.set_clean(self, n)

    def drop_clean(self) -> None:
        self.dropped += 1


@pytest.fixture
def pressed() -> list[int]:
    """How often somebody asked for room."""
    return []


@pytest.fixture
def budget(pressed: list[int]) -> Budget:
    return Budget(LIMIT, TIMEOUT, on_pressure=lambda: pressed.append(1))


def waiter(budget: Budget, name: str, n: int, order: list[str]) -> Callable[[], object]:
    async def wait() -> None:
        await budget.room(n)
        order.append(name)
        budget.charge(n)

    return wait


async def test_there_is_room_until_the_limit(budget: Budget, pressed: list[int]) -> None:
    budget.charge(LIMIT)
    with trio.fail_after(0):
        await budget.room(10)
    assert not pressed
    assert budget.statistics().peak == LIMIT


async def test_clean_data_goes_before_anybody_waits(budget: Budget, pressed: list[int]) -> None:
    old, young = Clean(budget, 300), Clean(budget, 300)
    budget.charge(500)
    await budget.room(10)
    assert (old.dropped, young.dropped) == (1, 0)
    assert budget.statistics().clean == 300
    assert budget.dirty == 500
    assert not pressed
    budget.check()


async def test_what_was_just_used_is_dropped_last(budget: Budget) -> None:
    first, second = Clean(budget, 300), Clean(budget, 300)
    budget.touch(first)
    budget.charge(500)
    await budget.room(10)
    assert (first.dropped, second.dropped) == (0, 1)


async def test_clean_data_of_one_holder_is_counted_once(budget: Budget) -> None:
    holder = Clean(budget, 300)
    budget.set_clean(holder, 200)
    assert budget.used == 200
    budget.set_clean(holder, 0)
    assert budget.used == 0
    budget.touch(holder)
    budget.check()


async def test_a_holder_that_changed_since_it_spoke_leaves_no_drift(budget: Budget) -> None:
    """What is given back is what was taken, whatever the holder has by now."""
    Clean(budget, 300)
    budget.charge(900)
    await budget.room(1)
    budget.charge(-900)
    assert budget.used == 0
    budget.check()


async def test_a_writer_waits_for_room(budget: Budget, pressed: list[int], autojump_clock: MockClock) -> None:
    order: list[str] = []
    budget.charge(LIMIT + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter(budget, "writer", 10, order))
        await wait_all_tasks_blocked()
        assert pressed
        assert budget.waiting
        assert budget.statistics().waiting == 1
        budget.charge(-10)
        await wait_all_tasks_blocked()
        assert not order, "what the writer holds in its hands is RAM as well"
        budget.charge(-1)
    assert order == ["writer"]
    assert not budget.waiting


async def test_those_who_wait_go_in_order_and_newcomers_after_them(
    budget: Budget, autojump_clock: MockClock
) -> None:
    order: list[str] = []
    budget.charge(LIMIT + 1)
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(waiter(budget, name, 400, order))
            await wait_all_tasks_blocked()
        budget.charge(-LIMIT)
        nursery.start_soon(waiter(budget, "late", 1, order))
        for _ in range(4):
            await wait_all_tasks_blocked()
            budget.charge(-min(budget.used, 400))
    assert order == ["a", "b", "c", "late"]


async def test_one_who_gives_up_does_not_block_the_next(budget: Budget, autojump_clock: MockClock) -> None:
    order: list[str] = []
    budget.charge(LIMIT + 1)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1) as first:
            nursery.start_soon(waiter(budget, "second", 5, order))
            await budget.room(5)
        assert first.cancelled_caught
        budget.charge(-LIMIT)
    assert order == ["second"]
    budget.check()


async def test_waiting_ends(budget: Budget, autojump_clock: MockClock) -> None:
    budget.charge(LIMIT + 1)
    began = trio.current_time()
    with pytest.raises(StoreTimeout):
        await budget.room(10)
    assert trio.current_time() - began == TIMEOUT
    assert not budget.waiting


async def test_many_hands_full_do_not_keep_each_other_waiting(
    budget: Budget, autojump_clock: MockClock
) -> None:
    """What is held back counts, but at most up to half of the limit."""
    order: list[str] = []
    budget.charge(LIMIT + 1)
    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(waiter(budget, str(i), LIMIT, order))
        while len(order) < 20:
            await wait_all_tasks_blocked()
            budget.charge(-budget.used)
    assert sorted(order, key=int) == [str(i) for i in range(20)]


def test_luxuries_take_half_of_the_limit_and_no_clean_data_in_use(budget: Budget) -> None:
    assert budget.try_charge(LIMIT // 2)
    assert not budget.try_charge(1)
    assert budget.used == LIMIT // 2


async def test_luxuries_stand_back_when_somebody_waits(budget: Budget, autojump_clock: MockClock) -> None:
    budget.charge(LIMIT + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.room, 1)
        await wait_all_tasks_blocked()
        assert not budget.try_charge(0)
        budget.charge(-LIMIT)


def test_luxuries_drop_old_clean_data(budget: Budget) -> None:
    holder = Clean(budget, 900)
    assert budget.try_charge(200)
    assert holder.dropped
    assert budget.used == 200
    budget.check()


async def test_every_release_that_is_not_enough_asks_for_more(
    budget: Budget, pressed: list[int], autojump_clock: MockClock
) -> None:
    budget.wake()
    assert not pressed, "nobody waits"
    budget.charge(LIMIT + 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.room, 1)
        await wait_all_tasks_blocked()
        before = len(pressed)
        budget.charge(-50)
        assert len(pressed) == before + 1
        budget.charge(-50)
        await wait_all_tasks_blocked()
        budget.charge(-50)
    assert not budget.waiting
