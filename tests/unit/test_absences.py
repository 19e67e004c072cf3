"""Names that are not there, while no other mount is heard: believed for a moment, and asked for all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.unit.disk import ME, Disk, key, mounted
from vfs.core.absences import PATIENCE
from vfs.core.filesystem.rename import NOREPLACE
from vfs.errors import Exists, StoreUnavailable
from vfs.store.base import ObjectMeta
from vfs.store.metered import Metered

MOMENT = 5.5
"""Seconds after which nothing is believed absent any more (`negative_ttl`)."""

Asked = Callable[[Callable[[], Awaitable[object]]], Awaitable[Counter[str]]]


@asynccontextmanager
async def alone(files: int, **changes: object) -> AsyncIterator[tuple[Disk, MemoryStore, Asked]]:
    """A mount that has listed a directory `d` with so many files, all put there by others."""
    memory = MemoryStore(S3_LIKE)
    await memory.put(key("workspace/d/"), (), ObjectMeta())
    for number in range(files):
        await memory.put(key(f"workspace/d/{number:05}"), [b"x"], ObjectMeta())
    store = Metered(memory)

    async def asked(program: Callable[[], Awaitable[object]]) -> Counter[str]:
        def ended() -> Counter[str]:
            return Counter({name: call.ended for name, call in store.statistics().calls.items()})

        before = ended()
        await program()
        return ended() - before

    async with mounted(store, **changes) as disk:
        assert len(await disk.listdir("workspace/d")) == files
        yield disk, memory, asked


async def look(disk: Disk, first: int, count: int = 50) -> None:
    for number in range(first, first + count):
        assert await disk.find(f"workspace/d/none-{number}") is None


async def test_what_others_make_in_a_listed_directory_is_found(autojump_clock: MockClock) -> None:
    async with alone(3) as (disk, memory, _):
        for number in range(3):
            assert await disk.find(f"workspace/d/new-{number}") is None
            await memory.put(key(f"workspace/d/new-{number}"), [b"new"], ObjectMeta())
            await trio.sleep(MOMENT)
            assert await disk.load(f"workspace/d/new-{number}") == b"new"


async def test_all_that_is_missing_costs_one_listing(autojump_clock: MockClock) -> None:
    async with alone(3) as (disk, _, asked):
        assert await asked(lambda: look(disk, 0)) == {}
        for again in range(1, 4):
            await trio.sleep(MOMENT)
            assert await asked(lambda again=again: look(disk, again * 100)) == {"list": 1}  # type: ignore[misc]


async def test_many_that_look_at_once_share_it(autojump_clock: MockClock) -> None:
    async with alone(3) as (disk, _, asked):
        await trio.sleep(MOMENT)

        async def all_at_once() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(look, disk, number, 1)

        assert await asked(all_at_once) == {"list": 1}


async def test_a_listing_of_many_pages_is_not_renewed_for_one_name(autojump_clock: MockClock) -> None:
    """A question costs two requests, this listing six."""
    async with alone(5500) as (disk, _, asked):
        await trio.sleep(MOMENT)
        assert await asked(lambda: look(disk, 0, 2)) == {"head": 2, "list": 2}
        assert await asked(lambda: look(disk, 2)) == {"list": 6}
        assert await asked(lambda: look(disk, 100)) == {}


async def test_who_writes_many_files_lists_now_and_then(autojump_clock: MockClock) -> None:
    """Ten minutes, a file every second: each name is looked up before it is made."""
    async with alone(0) as (disk, _, asked):

        async def write() -> None:
            for number in range(600):
                await trio.sleep(1)
                await disk.save(f"workspace/d/{number}", b"x")

        cost = await asked(write)
        assert cost["put"] == 600
        assert cost["list"] <= 600 / 5
        assert cost["head"] <= 4, "the directory itself, when it expires"
        assert len(await disk.listdir("workspace/d")) == 600


async def test_what_is_written_while_the_listing_is_under_way_is_in_it(autojump_clock: MockClock) -> None:
    memory = MemoryStore(S3_LIKE)
    store = FaultStore(memory)
    async with mounted(store) as disk:
        await disk.mkdir("workspace/d")
        await disk.save("workspace/d/old", b"x")
        await trio.sleep(MOMENT)
        store.slow("list", seconds=1.0, count=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, disk, 0, 1)
            await trio.sleep(0.5)
            await disk.unlink("workspace/d/old")
            await disk.save("workspace/d/new", b"new")
        asked = len(store.log)
        assert await disk.find("workspace/d/old") is None
        assert await disk.find("workspace/d/none-1") is None
        assert await disk.load("workspace/d/new") == b"new"
        assert len(store.log) == asked
        assert await disk.listdir("workspace/d") == ["new"]


async def test_a_listing_that_is_too_old_when_it_ends_is_not_repeated_for_every_name(
    autojump_clock: MockClock,
) -> None:
    """Seven pages of a second each: what they tell is believed for five."""
    memory = MemoryStore(S3_LIKE)
    for number in range(6500):
        await memory.put(key(f"workspace/d/{number:05}"), [b"x"], ObjectMeta())
    store = FaultStore(memory)

    def pages() -> int:
        return sum(call.name == "list" and call.key == key("workspace/d/") for call in store.log)

    async with mounted(store, workspace_ttl=1000) as disk:
        assert len(await disk.listdir("workspace/d")) == 6500
        store.slow("list", seconds=1.0)
        await trio.sleep(MOMENT)
        before = pages()
        await look(disk, 0)
        assert pages() - before == 7
        store.clear()
        await trio.sleep(7 * PATIENCE)
        await look(disk, 100)
        assert pages() - before == 14, "the store may be quicker by then"


async def test_a_store_that_is_away_is_not_an_absence(autojump_clock: MockClock) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.mkdir("workspace/d")
        await trio.sleep(MOMENT)
        store.fail_before("list")
        with pytest.raises(StoreUnavailable):
            await disk.find("workspace/d/none")
        assert await disk.find("workspace/d/none") is None


async def test_who_trusts_the_time_to_live_asks_nothing(autojump_clock: MockClock) -> None:
    async with alone(3, revalidate=float("inf")) as (disk, _, asked):
        await trio.sleep(200)
        assert await asked(lambda: look(disk, 0)) == {}


async def test_nothing_is_believed_absent_where_that_is_wanted() -> None:
    async with alone(3, negative_ttl=0.0, revalidate=0.0) as (disk, memory, _):
        assert await disk.find("workspace/d/new") is None
        await memory.put(key("workspace/d/new"), [b"new"], ObjectMeta())
        assert await disk.load("workspace/d/new") == b"new"


@pytest.mark.parametrize("how", ["link", "mkdir", "symlink", "rename", "rename of a directory"])
async def test_who_is_told_that_a_name_exists_finds_it(how: str) -> None:
    """At once, although it was believed absent."""
    store = MemoryStore(S3_LIKE)
    async with mounted(store) as here, mounted(store) as there:
        await here.save("workspace/f", b"ours")
        assert await here.find("workspace/new") is None
        await here.mkdir("workspace/d")
        made = there.mkdir("workspace/new") if "dir" in how else there.save("workspace/new", b"theirs")
        await made
        top = (await here.walk("workspace")).ino
        make = {
            "link": lambda: here.link("workspace/f", "workspace/new"),
            "mkdir": lambda: here.mkdir("workspace/new"),
            "symlink": lambda: here.fs.symlink(top, b"new", b"target", ME),
            "rename": lambda: here.fs.rename(top, b"f", top, b"new", NOREPLACE),
            "rename of a directory": lambda: here.fs.rename(top, b"d", top, b"new", NOREPLACE),
        }
        with pytest.raises(Exists):
            await make[how]()
        assert await here.find("workspace/new") is not None
