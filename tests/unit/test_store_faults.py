"""The knobs of FaultStore do what they say, and the disk's errors become the store's."""

from __future__ import annotations

import errno

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import FaultStore, MemoryStore
from vfs.errors import (
    KeyRefused,
    ObjectNotFound,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreThrottled,
    StoreTimeout,
    StoreUnavailable,
)
from vfs.store.base import ObjectMeta
from vfs.store.local.faults import translated
from vfs.types import Key

KEY = Key("dir/k")
META = ObjectMeta()


@pytest.fixture
def store() -> FaultStore:
    return FaultStore(MemoryStore())


async def test_fail_before(store: FaultStore) -> None:
    fault = store.fail_before("put|delete", count=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.put(KEY, [b"x"], META)
    with pytest.raises(ObjectNotFound):
        await store.head(KEY)
    await store.put(KEY, [b"x"], META)
    assert fault.hits == 2


async def test_fail_after_apply(store: FaultStore) -> None:
    store.fail_after_apply("put", error=lambda: StoreTimeout("lost"))
    with pytest.raises(StoreTimeout):
        await store.put(KEY, [b"x"], META)
    assert (await store.get(KEY)).data == b"x"


async def test_only_some_keys(store: FaultStore) -> None:
    store.fail_before(keys="^dir/", count=None)
    with pytest.raises(StoreUnavailable):
        await store.put(KEY, [b"x"], META)
    await store.put(Key("other/k"), [b"x"], META)


async def test_names_match_whole(store: FaultStore) -> None:
    store.fail_before("copy", count=None)
    await store.put(KEY, [b"x"], META)
    upload = await store.create_upload(KEY, META)
    await store.copy_part(upload, 1, KEY, 0, 1)
    with pytest.raises(StoreUnavailable):
        await store.copy(KEY, Key("b"))


async def test_probability_repeats_itself() -> None:
    async def failures(seed: int) -> list[bool]:
        store = FaultStore(MemoryStore(), seed)
        store.fail_before("put", count=None, probability=0.5)
        outcome = []
        for _ in range(64):
            try:
                await store.put(KEY, [b"x"], META)
            except StoreUnavailable:
                outcome.append(True)
            else:
                outcome.append(False)
        return outcome

    assert await failures(1) == await failures(1) != await failures(2)
    assert 10 < sum(await failures(1)) < 54


async def test_slow(store: FaultStore, autojump_clock: MockClock) -> None:
    store.slow("put", seconds=7)
    begun = trio.current_time()
    await store.put(KEY, [b"x"], META)
    await store.head(KEY)
    assert trio.current_time() - begun == pytest.approx(7)


async def test_truncated_reads(store: FaultStore) -> None:
    await store.put(KEY, [b"12345678"], META)
    store.truncate()
    got = await store.get(KEY)
    assert (bytes(got.data), got.info.size) == (b"1234", 8)
    assert (await store.get(KEY)).data == b"12345678"


async def test_corrupted_reads(store: FaultStore) -> None:
    await store.put(KEY, [b"12345678"], META)
    store.corrupt()
    got = bytes((await store.get(KEY)).data)
    assert len(got) == 8
    assert sum(one != other for one, other in zip(got, b"12345678", strict=True)) == 1
    assert (await store.get(KEY)).data == b"12345678"


async def test_resets(store: FaultStore) -> None:
    await store.put(KEY, [b"old"], META)
    store.reset(count=2)
    with pytest.raises(StoreUnavailable, match="reset"):
        await store.put(KEY, [b"new"], META)
    with pytest.raises(StoreUnavailable, match="reset"):
        await store.get(KEY)
    assert (await store.get(KEY)).data == b"old"


async def test_throttling(store: FaultStore) -> None:
    store.throttle(count=3, retry_after=2.0)
    for _ in range(3):
        with pytest.raises(StoreThrottled) as caught:
            await store.head(KEY)
        assert caught.value.retry_after == 2.0
    with pytest.raises(ObjectNotFound):
        await store.head(KEY)


async def test_away_for_a_while(store: FaultStore, autojump_clock: MockClock) -> None:
    store.away(20)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.put(KEY, [b"x"], META)
        await trio.sleep(10)
    await store.put(KEY, [b"x"], META)


async def test_stale_listings(store: FaultStore) -> None:
    await store.put(KEY, [b"x"], META)
    assert len((await store.list("dir/")).objects) == 1
    fault = store.stale_list()
    await store.delete(KEY)
    assert len((await store.list("dir/")).objects) == 1
    assert not (await store.list("")).objects
    store.clear()
    assert not (await store.list("dir/")).objects
    assert fault.hits == 2


async def test_full_and_cleared(store: FaultStore) -> None:
    await store.put(KEY, [b"x"], META)
    store.full()
    upload = await store.create_upload(KEY, META)
    for call in (
        lambda: store.put(KEY, [b"y"], META),
        lambda: store.upload_part(upload, 1, [b"y"]),
        lambda: store.copy(KEY, Key("b")),
    ):
        with pytest.raises(StoreFull):
            await call()
    assert (await store.get(KEY)).data == b"x"
    store.clear()
    await store.put(KEY, [b"y"], META)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EPERM, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.ENAMETOOLONG, KeyRefused),
        (errno.ENOTDIR, KeyRefused),
        (errno.EISDIR, KeyRefused),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EMFILE, StoreUnavailable),
    ],
)
def test_disk_errors(code: int, kind: type[StoreError]) -> None:
    error = translated(OSError(code, "text of the system"), "dir/k")
    assert type(error) is kind
    assert str(error) == "'dir/k': text of the system"
