"""Metered, Limit and Deadline around a store that misbehaves on demand."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import FaultStore, MemoryStore
from vfs.errors import ObjectNotFound, StoreTimeout, StoreUnavailable
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.store.layers import Deadline, Layer, Limit, innermost
from vfs.store.metered import Metered
from vfs.types import Key

KEY = Key("k")
META = ObjectMeta()


def test_every_call_of_the_protocol_passes_the_layers() -> None:
    """A call that Layer forgot would be missing here, or not be its own."""
    calls = [name for name in vars(ObjectStore) if not name.startswith("_") and name != "capabilities"]
    assert len(calls) >= 18
    for name in calls:
        assert name in vars(Layer), f"Layer does not pass on {name}"


async def test_innermost() -> None:
    memory = MemoryStore()
    assert innermost(memory) is memory
    assert innermost(Metered(Limit(Deadline(memory, 1.0), 1))) is memory
    assert Limit(memory, 1).capabilities is memory.capabilities
    assert "MemoryStore" in repr(Metered(memory))


async def test_metered_counts() -> None:
    faults = FaultStore(MemoryStore())
    store = Metered(faults)
    await store.put(KEY, [b"12345", memoryview(b"678")], META)
    await store.get(KEY, 0, 4)
    await store.get(KEY)
    with pytest.raises(ObjectNotFound):
        await store.head(Key("absent"))
    faults.fail_before("put")
    with pytest.raises(StoreUnavailable):
        await store.put(KEY, [b"lost"], META)
    upload = await store.create_upload(KEY, META)
    await store.upload_part(upload, 1, [b"123"])
    numbers = store.statistics()
    assert (numbers.sent, numbers.received, numbers.in_flight) == (11, 12, 0)
    assert (numbers.calls["put"].ended, dict(numbers.calls["put"].errors)) == (2, {"StoreUnavailable": 1})
    assert (numbers.calls["get"].ended, dict(numbers.calls["get"].errors)) == (2, {})
    assert dict(numbers.calls["head"].errors) == {"ObjectNotFound": 1}
    assert "list" not in numbers.calls
    assert numbers.calls["get"].seconds >= numbers.calls["get"].longest > 0


async def test_metered_sees_what_is_in_flight(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore())
    faults.slow(seconds=10)
    store = Metered(faults)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(store.put, KEY, [b"x"], META)
        await wait_all_tasks_blocked()
        assert store.statistics().in_flight == 3
        nursery.cancel_scope.cancel()
    numbers = store.statistics()
    assert (numbers.in_flight, numbers.calls["put"].ended, numbers.sent) == (0, 3, 0)
    assert dict(numbers.calls["put"].errors) == {}


async def test_limit_lets_only_so_many_in(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore())
    faults.slow(seconds=10)
    store = Limit(faults, 2)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(store.put, Key(f"k{number}"), [b"x"], META)
        await wait_all_tasks_blocked()
        assert len(faults.log) == 2
        assert store.statistics().tasks_waiting == 3
    assert trio.current_time() == pytest.approx(30, abs=1)
    assert store.statistics().borrowed_tokens == 0


async def test_limit_is_given_back_by_failures(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore())
    store = Limit(faults, 1)
    faults.fail_before(count=3)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.head(KEY)
    faults.slow(seconds=100)
    with trio.move_on_after(1):
        await store.head(KEY)
    faults.clear()
    with pytest.raises(ObjectNotFound):
        await store.head(KEY)


async def test_deadline(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore())
    store = Deadline(faults, 5.0)
    await store.put(KEY, [b"x"], META)
    faults.slow(seconds=4)
    assert (await store.get(KEY, 0, 1)).data == b"x"
    faults.clear()
    faults.slow(seconds=6)
    with pytest.raises(StoreTimeout, match=r"head 'k': no answer within 5 s"):
        await store.head(KEY)


async def test_large_bodies_get_more_time(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore())
    store = Deadline(faults, 5.0)
    body = [bytes(8 << 20)]
    faults.slow(seconds=12)
    await store.put(KEY, body, META)
    assert (await store.get(KEY, 0, 8 << 20)).info.size == 8 << 20
    await store.get(KEY)
    await store.copy(KEY, Key("copy"))
    with pytest.raises(StoreTimeout):
        await store.put(KEY, [b"small"], META)
    await store.copy(KEY, KEY, META)  # of attributes alone, and the store copies every byte


async def test_a_caller_that_gives_up_is_no_timeout(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore())
    faults.slow(seconds=100)
    with trio.move_on_after(1) as gave_up:
        await Deadline(faults, 5.0).head(KEY)
    assert gave_up.cancelled_caught
