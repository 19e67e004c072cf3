"""All layers together, as they stand around a store: outages, lost answers, and random faults against a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.fakes import FaultStore, MemoryStore
from tests.unit.simulation import simulate
from vfs.errors import ObjectNotFound, PreconditionFailed, StoreError, StoreTimeout, StoreUnavailable
from vfs.store.base import ObjectMeta, ObjectStore, Part
from vfs.store.breaker import Breaker, State
from vfs.store.layers import Deadline, Limit
from vfs.store.metered import Metered
from vfs.store.retry import Retry
from vfs.types import ETag, Key

SECONDS = 60.0
ATTEMPT = 15.0
KEYS = [Key(f"k{number}") for number in range(3)]


def meta_of(stamp: int) -> ObjectMeta:
    return ObjectMeta({"mode": "33188", "mtime": f"{1_700_000_000}.{stamp:09}"})


@dataclass
class Onion:
    """What stands around a store, each layer at hand."""

    memory: MemoryStore = field(default_factory=MemoryStore)
    seed: int = 0

    def __post_init__(self) -> None:
        self.faults = FaultStore(self.memory, self.seed)
        limit = Limit(Metered(Deadline(self.faults, ATTEMPT)), 8)
        self.breaker = Breaker(limit, SECONDS)
        self.retry = Retry(self.breaker, SECONDS, Random(self.seed))
        self.store = Metered(self.retry)


async def together(calls: list[Callable[[], Awaitable[object]]]) -> list[StoreError | None]:
    """Makes all calls at once; the error of each, None where there was none."""
    errors: list[StoreError | None] = [None] * len(calls)

    async def run(number: int) -> None:
        try:
            await calls[number]()
        except StoreError as error:
            errors[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(len(calls)):
            nursery.start_soon(run, number)
    return errors


def every_call(store: ObjectStore, key: Key) -> list[Callable[[], Awaitable[object]]]:
    """One of each kind that a program waits for; `key` exists."""

    async def upload() -> None:
        begun = await store.create_upload(Key(f"{key}-big"), meta_of(2))
        one = await store.upload_part(begun, 1, [b"one"])
        two = await store.copy_part(begun, 2, key, 0, 2)
        await store.complete_upload(begun, [one, two], if_absent=True)

    return [
        lambda: store.head(key),
        lambda: store.get(key, 0, 4096),
        lambda: store.list(""),
        lambda: store.put(Key(f"{key}-new"), [b"new"], meta_of(1), if_absent=True),
        lambda: store.copy(key, key, meta_of(3)),
        lambda: store.delete(Key("absent")),
        lambda: store.delete_many([Key("absent")]),
        upload,
    ]


async def test_a_store_that_is_away_for_20_s(autojump_clock: MockClock) -> None:
    onion = Onion()
    keys = [Key(f"k{number}") for number in range(4)]
    for key in keys:
        await onion.memory.put(key, [b"old"], meta_of(0))
    onion.faults.away(20)
    begun = trio.current_time()
    assert await together([call for key in keys for call in every_call(onion.store, key)]) == [None] * 32
    assert 20 <= trio.current_time() - begun < 20 + 10 + 1
    answered = sum(tally.ended for tally in onion.store.statistics().calls.values())
    # All 32 may be in line before the fifth failure; then there are only the probes after 1, 3, 7 and 15 s.
    assert 5 < len(onion.faults.log) - answered <= 32 + 4
    assert onion.breaker.statistics().state is State.CLOSED
    assert onion.breaker.statistics().opened == 1
    assert onion.retry.statistics().given_up == 0
    assert [(await onion.memory.get(Key(f"{key}-big"))).data for key in keys] == [b"oneol"] * 4


async def test_a_store_that_is_away_for_good(autojump_clock: MockClock) -> None:
    onion = Onion()
    onion.faults.away()
    begun = trio.current_time()
    errors = await together(every_call(onion.store, KEYS[0]))
    assert all(isinstance(error, StoreUnavailable) for error in errors)
    assert trio.current_time() - begun <= SECONDS + ATTEMPT
    # After the first burst only the probes, 1, 2, 4, 8 and then 10 s apart.
    assert len(onion.faults.log) <= 8 + 4 + 5

    asked, begun = len(onion.faults.log), trio.current_time()
    for question in (onion.store.head, onion.store.get, onion.store.list):
        with pytest.raises(StoreUnavailable):
            await question(KEYS[0])
    assert trio.current_time() - begun < 1, "questions do not wait for a store that has been away so long"
    with pytest.raises(StoreUnavailable, match="given up after 60 s"):
        await onion.store.put(KEYS[0], [b"x"], meta_of(0))
    assert trio.current_time() - begun == pytest.approx(SECONDS, abs=1)
    assert len(onion.faults.log) <= asked + 8


async def test_a_store_that_hangs(autojump_clock: MockClock) -> None:
    onion = Onion()
    onion.faults.slow(seconds=1e6)
    begun = trio.current_time()
    errors = await together(every_call(onion.store, KEYS[0]))
    assert {type(error) for error in errors} <= {StoreTimeout, StoreUnavailable} | set(
        StoreUnavailable.__subclasses__()
    )
    assert trio.current_time() - begun <= SECONDS + ATTEMPT + 1
    assert len(onion.faults.log) <= 8 + 4
    onion.faults.clear()
    await onion.store.put(KEYS[0], [b"x"], meta_of(0))


async def test_a_throttled_store_is_left_in_peace_and_not_given_up(autojump_clock: MockClock) -> None:
    onion = Onion()
    await onion.memory.put(KEYS[0], [b"old"], meta_of(0))
    onion.faults.throttle(count=40, retry_after=2.0)
    begun = trio.current_time()
    assert await together(every_call(onion.store, KEYS[0])) == [None] * 8
    assert trio.current_time() - begun >= 2.0 * 40 / 8
    assert onion.breaker.statistics().opened == 0


LOST = "put|copy|create_upload|upload_part|copy_part|complete_upload|abort_upload|delete|delete_many"


async def test_every_answer_is_lost_once(autojump_clock: MockClock) -> None:
    onion = Onion()
    store = onion.store
    for name in LOST.split("|"):
        onion.faults.fail_after_apply(name)
    one = await store.put(KEYS[0], [b"one"], meta_of(1), if_absent=True)
    two = await store.copy(KEYS[0], KEYS[0], meta_of(2), if_match=one.etag)
    upload = await store.create_upload(KEYS[1], meta_of(3))
    parts = [
        await store.upload_part(upload, 1, [b"two"]),
        await store.copy_part(upload, 2, KEYS[0], 0, 3, if_match=two.etag),
    ]
    three = await store.complete_upload(upload, parts, if_absent=True)
    assert bytes((await onion.memory.get(KEYS[0])).data) == b"one"
    assert await onion.memory.head(KEYS[0]) == two
    assert bytes((await onion.memory.get(KEYS[1])).data) == b"twoone"
    assert await onion.memory.head(KEYS[1]) == three
    assert three.meta == meta_of(3)
    await store.abort_upload((await store.list_uploads(""))[0])
    await store.delete(KEYS[0])
    await store.delete_many([KEYS[1]])
    assert not onion.memory.stored()
    assert not await onion.memory.list_uploads("")
    assert onion.retry.statistics().settled == 2
    assert sum(onion.retry.statistics().retries.values()) == len(LOST.split("|"))


Step = tuple[str, int, int, int, bool]
KINDS = ["upload", "put_match", "put_absent", "touch", "copy", "put", "delete", "get", "head"]
steps = st.lists(
    st.tuples(
        st.sampled_from(KINDS[:5] * 2 + KINDS[5:]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 3),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=5,
    max_size=25,
)
knobs = st.lists(
    st.tuples(
        st.sampled_from(["after", "after", "after", "before", "reset", "throttle", "slow", "away"]),
        st.sampled_from([LOST, "complete_upload|copy", "put|head", ".*"]),
        st.integers(1, 3),
        st.floats(0.3, 1.0),
    ),
    min_size=1,
    max_size=2,
)
"""What befalls one step; few enough that they pass within the time of one call."""


def turn(faults: FaultStore, knob: tuple[str, str, int, float]) -> None:
    kind, calls, count, probability = knob
    if kind == "before":
        faults.fail_before(calls, count=count, probability=probability)
    elif kind == "after":
        faults.fail_after_apply(calls, count=count, probability=probability)
    elif kind == "reset":
        faults.reset(calls, count=count, probability=probability)
    elif kind == "throttle":
        faults.throttle(calls, count=count, retry_after=probability)
    elif kind == "slow":
        faults.slow(calls, seconds=ATTEMPT * 1.5, count=1)
    else:
        faults.away(count * 3.0)


async def step_on(store: ObjectStore, step: Step, stamp: int) -> object:
    """What the step answers, or the class of its error: comparable between two stores."""
    kind, one, other, size, right = step
    key, meta, body = KEYS[one], meta_of(stamp), [b"%d." % stamp * size]
    try:
        if kind == "get":
            return bytes((await store.get(key)).data)
        if kind == "head":
            return shown(await store.head(key))
        if kind == "delete":
            await store.delete(key)
            return None
        if kind == "put":
            return shown(await store.put(key, body, meta))
        if kind == "put_absent":
            return shown(await store.put(key, body, meta, if_absent=True))
        known = (await store.head(key)).etag if right else ETag("0" * 32)
        if kind == "put_match":
            return shown(await store.put(key, body, meta, if_match=known))
        if kind == "copy":
            return shown(await store.copy(key, KEYS[other], meta, if_match=known))
        if kind == "touch":
            return shown(await store.copy(key, key, meta, if_match=known))
        return shown(await uploaded(store, key, meta, body, known))
    except (ObjectNotFound, PreconditionFailed) as error:
        return type(error)


async def uploaded(store: ObjectStore, key: Key, meta: ObjectMeta, body: list[bytes], known: ETag) -> object:
    upload = await store.create_upload(key, meta)
    parts: list[Part] = []
    for number in (1, 2):
        parts.append(await store.upload_part(upload, number, [*body, b"%d" % number]))
    try:
        return await store.complete_upload(upload, parts, if_match=known)
    except PreconditionFailed:
        await store.abort_upload(upload)
        raise


def shown(info: object) -> object:
    """All of an ObjectInfo but the time, which is the wall's."""
    return tuple(getattr(info, name) for name in ("key", "size", "etag", "meta"))


@settings(max_examples=200, deadline=None)
@given(program=steps, faults=st.lists(knobs, min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_faults_change_nothing_but_the_time(
    program: list[Step], faults: list[list[tuple[str, str, int, float]]], seed: int
) -> None:
    """One client, any faults that pass: each answer, and what is stored at the end, is as without them."""

    async def main() -> None:
        onion, plain = Onion(seed=seed), MemoryStore()
        for store in (onion.memory, plain):
            for key in KEYS[:2]:
                await store.put(key, [b"old"], meta_of(0))
        for stamp, step in enumerate(program, 1):
            onion.faults.clear()
            for knob in faults[stamp % len(faults)]:
                turn(onion.faults, knob)
            assert await step_on(onion.store, step, stamp) == await step_on(plain, step, stamp)
            onion.breaker.check()
        onion.faults.clear()
        assert onion.memory.stored() == plain.stored()
        for key in plain.stored():
            assert shown(await onion.memory.head(key)) == shown(await plain.head(key))
            assert (await onion.memory.get(key)).data == (await plain.get(key)).data

    simulate(main, seed)


@settings(max_examples=60, deadline=None)
@given(probability=st.floats(0, 0.6), seed=st.integers(0, 10_000))
def test_every_acknowledged_line_is_there(probability: float, seed: int) -> None:
    """Three hosts append to one object, each with the version it read as precondition; answers get lost."""

    async def main() -> None:
        memory = MemoryStore()
        await memory.put(KEYS[0], [b""], meta_of(0))
        acknowledged: set[str] = set()
        unknown: set[str] = set()

        async def host(number: int) -> None:
            onion = Onion(memory, seed + number)
            onion.faults.fail_after_apply("put|head", count=None, probability=probability)
            onion.faults.fail_before(count=None, probability=probability / 2)
            for line in (f"{number}.{serial}" for serial in range(4)):
                while True:
                    try:
                        found = await onion.store.get(KEYS[0])
                        body = [found.data, f"{line} ".encode()]
                        stamp = int(line.replace(".", "")) + 1
                        await onion.store.put(KEYS[0], body, meta_of(stamp), if_match=found.info.etag)
                    except PreconditionFailed:
                        continue
                    except StoreUnavailable:
                        unknown.add(line)
                    else:
                        acknowledged.add(line)
                    break

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(host, number)
        lines = bytes((await memory.get(KEYS[0])).data).decode().split()
        # A lost put that others built upon before it could be settled looks refused, and its line comes again.
        assert acknowledged <= set(lines) <= acknowledged | unknown

    simulate(main, seed)
