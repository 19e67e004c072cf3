"""How old what is known may be: it ages from when the store said it, whoever passes it on."""

from __future__ import annotations

import gc
import time

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import key, mounted
from tests.unit.test_coherence import both, told, world
from vfs.store.base import ObjectMeta
from vfs.store.metered import Metered

TTL = 300
"""Of the workspace, seconds."""

FILE = "workspace/d/f"


@pytest.fixture
def start(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> float:
    """The time of day at which the test begins; it goes on as the loop's clock does."""
    start = 1_800_000_000.2

    def now() -> float:
        return start + autojump_clock.current_time() - begun

    begun = autojump_clock.current_time()
    monkeypatch.setattr(time, "time", now)
    monkeypatch.setattr(time, "time_ns", lambda: int(now() * 1e9))
    return start


async def test_what_others_knew_is_not_renewed_by_a_listing(start: float, autojump_clock: MockClock) -> None:
    async with world() as made:
        await made.memory.put(key(FILE), [b"old"], ObjectMeta())
        one = await made.mount()
        for _ in range(2):
            await one.disk.stat(FILE)
            await one.disk.listdir("workspace/d")
            await told()
        assert made.server.directories["workspace/d"].complete
        await made.memory.put(key(FILE), [b"new, directly"], ObjectMeta())
        await trio.sleep(TTL - 20)
        other = await made.mount()
        await other.disk.listdir("workspace/d")
        assert (await other.disk.stat(FILE)).attr.size == 3
        await trio.sleep(20)
        assert (await other.disk.stat(FILE)).attr.size == 13


async def test_a_listing_that_is_shared_does_not_make_younger_what_was_known(
    start: float, autojump_clock: MockClock
) -> None:
    async with world() as made:
        one = await made.mount()
        await one.disk.mkdir("workspace/d")
        await one.disk.mkdir("workspace/d/sub")
        made.server.directories.clear()
        async with mounted(made.memory) as unheard:
            await unheard.change("workspace/d/sub", mode=0o700)
            unheard.forget_all()
        await trio.sleep(TTL - 10)
        one.disk.fs.cache.memory.doubt("workspace/d")
        await one.disk.listdir("workspace/d")
        await told()
        await trio.sleep(20)
        other = await made.mount()
        assert (await other.disk.stat("workspace/d/sub")).attr.mode & 0o777 == 0o700


@pytest.mark.parametrize("own", [False, True], ids=["asked for", "written here"])
async def test_a_chmod_that_no_listing_shows_is_seen_when_the_old_one_expires(
    own: bool, start: float, autojump_clock: MockClock
) -> None:
    """Within the second of a version it changes nothing in a listing: not the etag, and not the time."""
    memory = MemoryStore(S3_LIKE)
    async with mounted(memory) as one, mounted(memory) as other:
        writer, reader = (other, one) if own else (one, other)
        await one.save("workspace/f", b"data")
        assert (await reader.stat("workspace/f")).attr.mode & 0o777 == 0o644
        await trio.sleep(0.3)
        await writer.change("workspace/f", mode=0o600)
        for _ in range(TTL // 20):
            await trio.sleep(20.1)
            await reader.listdir("workspace")
        assert (await reader.stat("workspace/f")).attr.mode & 0o777 == 0o600
        one.forget_all()
        other.forget_all()


async def test_what_is_old_enough_is_renewed_by_listings(start: float, autojump_clock: MockClock) -> None:
    """Any later change shows: files that nobody changes are asked for once or twice in all."""
    async with world() as made:
        one = await made.mount()
        await one.disk.save("workspace/f", b"data")
        asked = []
        for _ in range(20):
            await trio.sleep(TTL / 2)
            before = one.asked()["head"]
            await one.disk.listdir("workspace")
            await one.disk.stat("workspace/f")
            asked.append(one.asked()["head"] - before)
        assert sum(asked) == sum(asked[:4]) == 1


@pytest.mark.parametrize("ahead", [3, 3600])
async def test_a_record_of_a_clock_that_is_far_ahead_is_not_believed(
    ahead: float, start: float, autojump_clock: MockClock
) -> None:
    """It would be young for as long as that."""
    async with world() as made:
        one, other = await both(made)
        one.shared.clock = start + ahead
        await one.disk.save("workspace/f", b"old")
        await told()
        other.disk.fs.cache.forget_all()
        await made.memory.put(key("workspace/f"), [b"new, directly"], ObjectMeta())
        assert (await other.disk.stat("workspace/f")).attr.size == (3 if ahead < 5 else 13)


async def test_listings_that_ended_leave_nothing() -> None:
    memory = MemoryStore(S3_LIKE)
    async with mounted(memory) as disk:
        for number in range(50):
            await memory.put(key(f"workspace/d{number}/f"), [], ObjectMeta())
            await disk.listdir(f"workspace/d{number}")
        disk.forget_all()
        gc.collect()
        assert not len(disk.fs.cache._flights._watches)


async def test_what_is_too_old_to_be_believed_holds_for_its_version(
    start: float, autojump_clock: MockClock
) -> None:
    """A directory that nobody looked at for an hour: one LIST tells which files are still the same."""
    store = Metered(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        for number in range(5):
            await disk.save(f"workspace/f{number}", b"data")
        for _ in range(2):
            await trio.sleep(TTL + 1)
            for name in await disk.listdir("workspace"):
                await disk.stat(f"workspace/{name}")
        await trio.sleep(3600)
        await store.inner.put(key("workspace/f3"), [b"changed"], ObjectMeta())
        before = store.statistics().calls["head"].ended
        for name in await disk.listdir("workspace"):
            assert (await disk.stat(f"workspace/{name}")).attr.size == (7 if name == "f3" else 4)
        assert store.statistics().calls["head"].ended - before == 1
        disk.forget_all()
