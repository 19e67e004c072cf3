"""Retry alone: what is repeated, for how long, and how a lost answer is settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
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
    UploadNotFound,
)
from vfs.store.base import ObjectInfo, ObjectMeta, Part, Upload, UploadId
from vfs.store.retry import Retry
from vfs.types import ETag, Key

KEY = Key("k")
META = ObjectMeta({"mode": "33188", "mtime": "1700000000.123456789"})
OTHER = ObjectMeta({"mode": "33188", "mtime": "1700000000.987654321"})
SECONDS = 60.0


class OpaqueStore(MemoryStore):
    """Etags that are no hashes, and a copy onto itself gets a new one."""

    def _store(self, key: Key, data: bytes, etag: ETag, meta: ObjectMeta) -> ObjectInfo:
        return super()._store(key, data, ETag(f"version-{next(self._serial)}"), meta)


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


async def test_can_be_cancelled(faults: FaultStore, store: Retry, autojump_clock: MockClock) -> None:
    faults.away()
    with trio.move_on_after(5) as scope:
        await store.put(KEY, [b"x"], META)
    assert scope.cancelled_caught
    assert store.statistics().given_up == 0


@pytest.mark.parametrize("meta", [META, ObjectMeta()])
async def test_a_lost_conditional_put_is_ours(
    meta: ObjectMeta, faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.fail_after_apply("put")
    first = await store.put(KEY, [b"on", memoryview(b"e")], meta, if_absent=True)
    assert first == await faults.head(KEY)
    faults.fail_after_apply("put")
    second = await store.put(KEY, [b"two"], meta, if_match=first.etag)
    assert second == await faults.head(KEY)
    assert (second.etag, second.size) == (_md5(b"two"), 3)
    assert store.statistics().settled == 2


async def test_another_ones_object_is_not_ours(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    for body, meta in [(b"xx", META), (b"longer", META), (b"ours", OTHER), (b"ours", ObjectMeta())]:
        theirs = await faults.put(KEY, [body], meta)
        faults.fail_before("put")
        with pytest.raises(PreconditionFailed):
            await store.put(KEY, [b"ours"], META, if_absent=True)
        assert await faults.head(KEY) == theirs
    assert store.statistics().settled == 0


async def test_a_refusal_after_a_certain_failure_stands(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    """Equal contents prove nothing to one who knows that nothing was sent: a lock stays another's."""
    await faults.put(KEY, [b""], META)
    faults.fail_before("put", error=lambda: StoreUnavailable("no connection", uncertain=False))
    with pytest.raises(PreconditionFailed):
        await store.put(KEY, [b""], META, if_absent=True)
    assert asked(faults, "head") == 0


async def test_an_object_deleted_meanwhile_is_not_ours(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.fail_before("put")
    with pytest.raises(PreconditionFailed):
        await store.put(KEY, [b"x"], META, if_match=ETag("gone"))
    assert asked(faults, "head") == 1


async def test_head_has_what_is_left_of_the_time(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.fail_after_apply("put")
    faults.fail_before("head", count=3)
    await store.put(KEY, [b"x"], META, if_absent=True)
    faults.fail_after_apply("put")
    faults.away(calls="head")
    begun = trio.current_time()
    with pytest.raises(StoreUnavailable, match="head 'k': given up after 60 s") as caught:
        await store.put(Key("k"), [b"y"], META, if_match=_md5(b"x"))
    assert trio.current_time() - begun == pytest.approx(SECONDS)
    assert caught.value.uncertain
    faults.clear()
    faults.fail_after_apply("put")
    faults.fail_before("head", error=lambda: StoreDenied("may not read"))
    with pytest.raises(StoreDenied):
        await store.put(KEY, [b"z"], META, if_match=_md5(b"y"))


async def test_opaque_etags_leave_the_metadata(autojump_clock: MockClock) -> None:
    faults = FaultStore(OpaqueStore())
    store = Retry(faults, SECONDS, Random(1))
    faults.fail_after_apply("put")
    stored = await store.put(KEY, [b"x"], META, if_absent=True)
    faults.fail_after_apply("put")
    with pytest.raises(PreconditionFailed):
        await store.put(Key("bare"), [b"x"], ObjectMeta(), if_absent=True)
    faults.fail_after_apply("copy")
    changed = await store.copy(KEY, KEY, OTHER, if_match=stored.etag)
    assert (changed.meta, changed.etag != stored.etag) == (OTHER, True)
    assert changed == await faults.head(KEY)
    faults.fail_before("copy")
    with pytest.raises(PreconditionFailed):
        await store.copy(KEY, KEY, META, if_match=stored.etag)


async def test_a_lost_copy(autojump_clock: MockClock) -> None:
    memory = MemoryStore()
    faults = FaultStore(memory)
    store = Retry(faults, SECONDS, Random(1))
    one = await faults.put(KEY, [b"one"], META)
    target = Key("target")

    faults.fail_after_apply("copy")
    assert (await store.copy(KEY, KEY, OTHER, if_match=one.etag)).meta == OTHER
    assert store.statistics().settled == 0

    async def change_the_source(change: Callable[[], Awaitable[object]]) -> None:
        while target not in memory.stored():
            await trio.lowlevel.checkpoint()
        await change()

    for change in (lambda: memory.put(KEY, [b"two"], META), lambda: memory.delete(KEY)):
        await memory.put(KEY, [b"one"], META)
        await memory.delete(target)
        faults.fail_after_apply("copy")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_the_source, change)
            info = await store.copy(KEY, target, META, if_match=one.etag)
        assert (info, info.etag) == (await memory.head(target), one.etag)
    assert store.statistics().settled == 2


@pytest.mark.parametrize("meta", [None, META, OTHER])
async def test_a_copy_that_cannot_be_told_is_refused(
    meta: ObjectMeta | None, faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    await faults.put(KEY, [b"new"], META)
    await faults.put(Key("target"), [b"old"], META)
    faults.fail_before("copy", count=2)
    with pytest.raises(PreconditionFailed):
        await store.copy(KEY, Key("target"), meta, if_match=_md5(b"gone"))
    with pytest.raises(ObjectNotFound):
        await store.copy(Key("absent"), Key("target"), meta)


async def begin(store: FaultStore | Retry, *bodies: bytes) -> tuple[Upload, list[Part]]:
    upload = await store.create_upload(KEY, META)
    return upload, [await store.upload_part(upload, number, [body]) for number, body in enumerate(bodies, 1)]


async def test_a_lost_complete(faults: FaultStore, store: Retry, autojump_clock: MockClock) -> None:
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_after_apply("complete_upload")
    info = await store.complete_upload(upload, parts, if_absent=True)
    assert info == await faults.head(KEY)
    assert (info.size, info.etag[-2:]) == (6, "-2")
    assert store.statistics().settled == 1


async def test_an_aborted_upload_is_not_ours(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    """The version that was to be replaced has the same size: an edit in the middle of a file."""
    for bodies in ([b"abc", b"def"], [b"abcdef"]):
        upload, parts = await begin(faults, *bodies)
        old = await faults.complete_upload(upload, parts)
        upload, parts = await begin(faults, b"abc", b"DEF")
        await faults.abort_upload(upload)
        faults.fail_before("complete_upload")
        with pytest.raises(UploadNotFound):
            await store.complete_upload(upload, parts, if_match=old.etag)
        assert await faults.head(KEY) == old
    old = await faults.put(KEY, [b"abcdef"], META)
    faults.fail_before("complete_upload")
    with pytest.raises(UploadNotFound):
        await store.complete_upload(upload, parts)


async def test_a_complete_with_opaque_etags(autojump_clock: MockClock) -> None:
    """That the upload is gone and the size is right tells; that another version is there does not."""
    faults = FaultStore(OpaqueStore())
    store = Retry(faults, SECONDS, Random(1))
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_after_apply("complete_upload")
    stored = await store.complete_upload(upload, parts)
    assert stored == await faults.head(KEY)
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_before("complete_upload")
    with pytest.raises(PreconditionFailed):
        await store.complete_upload(upload, parts, if_absent=True)
    await faults.abort_upload(upload)
    faults.fail_before("complete_upload")
    with pytest.raises(UploadNotFound):
        await store.complete_upload(upload, parts, if_match=stored.etag)


async def test_late_metadata_is_compared(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore(replace(S3_LIKE, late_meta=True)))
    store = Retry(faults, SECONDS, Random(1))
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_after_apply("complete_upload")
    assert (await store.complete_upload(upload, parts, OTHER)).meta == OTHER
    faults.fail_before("complete_upload")
    with pytest.raises(UploadNotFound):
        await store.complete_upload(upload, parts, META)


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
