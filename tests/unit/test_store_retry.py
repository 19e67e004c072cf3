"""Retry alone: what is repeated, and for how long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import FaultStore, MemoryStore
from tests.memory_store import _md5
from vfs.errors import (
    ObjectNotFound,
    PreconditionFailed,
    StoreAway,
    StoreDenied,
    StoreError,
    StoreThrottled,
    StoreTimeout,
    StoreUnavailable,
)
from vfs.store.base import ObjectMeta, Upload, UploadId
from vfs.store.retry import Retry
from vfs.types import Key

KEY = Key("k")
META = ObjectMeta({"mode": "33188", "mtime": "1700000000.123456789"})
OTHER = ObjectMeta({"mode": "33188", "mtime": "1700000000.987654321"})
SECONDS = 60.0


@pytest.fixture
def faults() -> FaultStore:
    return FaultStore(MemoryStore())


@pytest.fixture
def store(faults: FaultStore) -> Retry:
    return Retry(faults, SECONDS, Random(1))


def asked(faults: FaultStore, name: str) -> int:
    return sum(call.name == name for call in faults.log)


@pytest.mark.parametrize(
    "make", [StoreUnavailable, StoreTimeout, StoreThrottled, lambda: StoreAway(retry_after=1.0)]
)
async def test_repeats_until_there_is_an_answer(
    make: Callable[[], StoreError], faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.fail_before("put", count=6, error=make)
    assert (await store.put(KEY, [b"x"], META)).size == 1
    assert asked(faults, "put") == 7
    assert store.statistics().retries.get("put", 0) == (0 if isinstance(make(), StoreAway) else 6)
    assert (store.statistics().settled, store.statistics().given_up) == (0, 0)


@pytest.mark.parametrize("make", [ObjectNotFound, StoreDenied, PreconditionFailed, StoreError])
async def test_everything_else_passes_at_once(
    make: type[StoreError], faults: FaultStore, store: Retry
) -> None:
    faults.fail_before(error=lambda: make("no"))
    with pytest.raises(make, match=r"^no$"):
        await store.put(KEY, [b"x"], META)
    assert len(faults.log) == 1


async def test_gives_up_at_the_deadline_and_says_so(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.away()
    begun = trio.current_time()
    with pytest.raises(StoreUnavailable) as caught:
        await store.put(KEY, [b"x"], META)
    assert trio.current_time() - begun == pytest.approx(SECONDS)
    made = asked(faults, "put")
    assert 20 < made < 50
    assert str(caught.value) == (
        f"put 'k': given up after 60 s and {made} attempts: a fault was injected: nobody answers"
    )
    assert caught.value.uncertain
    assert store.statistics().given_up == 1


async def test_the_last_error_keeps_its_class(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.slow(seconds=100)
    faults.fail_before(count=None, error=lambda: StoreTimeout("no answer", uncertain=False))
    with pytest.raises(StoreTimeout, match=r"after 100 s and 1 attempt: no answer") as caught:
        await store.head(KEY)
    assert not caught.value.uncertain


async def test_pauses_double_with_full_jitter(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    faults.fail_before(count=10)
    begun = trio.current_time()
    await Retry(faults, SECONDS, Longest()).put(KEY, [b"x"], META)
    pauses = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]
    assert trio.current_time() - begun == pytest.approx(sum(pauses))
    faults.fail_before(count=10)
    begun = trio.current_time()
    await store.put(KEY, [b"x"], META)
    assert trio.current_time() - begun < sum(pauses) * 0.8


async def test_honours_retry_after(faults: FaultStore, store: Retry, autojump_clock: MockClock) -> None:
    faults.throttle(retry_after=7.0)
    begun = trio.current_time()
    await store.put(KEY, [b"x"], META)
    assert 7.0 <= trio.current_time() - begun <= 7.1
    faults.throttle(retry_after=3600.0)
    begun = trio.current_time()
    await store.put(KEY, [b"x"], META)
    assert trio.current_time() - begun == pytest.approx(SECONDS)


async def test_only_questions_give_up_on_a_hopeless_store(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    def hopeless() -> StoreError:
        error = StoreAway("away", retry_after=1.0, uncertain=False)
        error.hopeless = True
        return error

    faults.fail_before(count=None, error=hopeless)
    questions: list[Callable[[], Awaitable[object]]] = [
        lambda: store.head(KEY),
        lambda: store.get(KEY),
        lambda: store.list(""),
        lambda: store.list_uploads(""),
        lambda: store.list_parts(Upload(KEY, UploadId("u"))),
        lambda: store.presign(KEY, 1),
        store.usage,
    ]
    begun = trio.current_time()
    for question in questions:
        with pytest.raises(StoreAway, match="0 attempts") as caught:
            await question()
        assert caught.value.hopeless
    assert trio.current_time() == begun
    with pytest.raises(StoreAway):
        await store.put(KEY, [b"x"], META, if_absent=True)
    assert trio.current_time() - begun == pytest.approx(SECONDS)


async def test_a_move_is_never_repeated(faults: FaultStore, store: Retry) -> None:
    faults.fail_before(count=None)
    for move in (store.rename, store.exchange):
        with pytest.raises(StoreUnavailable):
            await move(KEY, Key("b"))
    assert len(faults.log) == 2


@pytest.mark.parametrize(("start", "length"), [(0, None), (0, 8), (2, 4), (4, 100), (7, 1)])
async def test_an_answer_that_was_cut_is_asked_for_again(
    start: int, length: int | None, faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    stored = await store.put(KEY, [b"01234567"], META)
    faults.truncate(count=2)
    got = await store.get(KEY, start, length, if_match=stored.etag)
    assert bytes(got.data) == b"01234567"[start:][:length]
    assert asked(faults, "get") == 3
    assert store.statistics().retries == {"get": 2}


async def test_who_always_cuts_is_not_asked_for_long(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    await store.put(KEY, [b"01234567"], META)
    faults.truncate(count=None)
    with pytest.raises(StoreError, match="answer 3 lacks the last 2 of 4 bytes") as caught:
        await store.get(KEY, 4, 100)
    assert type(caught.value) is StoreError
    assert asked(faults, "get") == 3


async def test_what_the_object_does_not_have_is_not_missing(faults: FaultStore, store: Retry) -> None:
    await store.put(KEY, [b"0123"], META)
    for start, length, expected in [(4, 1, b""), (9, None, b""), (0, 0, b""), (3, 10, b"3")]:
        assert bytes((await store.get(KEY, start, length)).data) == expected
    assert asked(faults, "get") == 4


async def test_can_be_cancelled(faults: FaultStore, store: Retry, autojump_clock: MockClock) -> None:
    faults.away()
    with trio.move_on_after(5) as scope:
        await store.put(KEY, [b"x"], META)
    assert scope.cancelled_caught
    assert store.statistics().given_up == 0


async def test_what_can_be_done_twice(faults: FaultStore, store: Retry, autojump_clock: MockClock) -> None:
    """Every kind of call whose answer is lost leaves what was asked for, once."""
    faults.fail_after_apply(
        "put|create_upload|upload_part|copy_part|abort_upload|delete|delete_many", count=1
    )
    await store.put(KEY, [b"one"], META)
    faults.fail_after_apply("create_upload")
    upload = await store.create_upload(Key("big"), META)
    assert len(await faults.list_uploads("")) == 2, "one leaks until garbage collection"
    faults.fail_after_apply("upload_part")
    one = await store.upload_part(upload, 1, [b"one"])
    faults.fail_after_apply("copy_part")
    two = await store.copy_part(upload, 2, KEY, 0, 3, if_match=_md5(b"one"))
    assert list(await store.list_parts(upload)) == [one, two]
    await store.complete_upload(upload, [one, two])
    assert bytes((await store.get(Key("big"))).data) == b"oneone"
    (leak,) = await store.list_uploads("")
    faults.fail_after_apply("abort_upload")
    await store.abort_upload(leak)
    assert not await store.list_uploads("")
    faults.fail_after_apply("delete")
    await store.delete(KEY)
    faults.fail_after_apply("delete_many")
    assert not await store.delete_many([Key("big")])
    assert not (await store.list("")).objects
    assert sum(store.statistics().retries.values()) == 7
    assert store.statistics().settled == 0
