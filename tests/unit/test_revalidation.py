"""Without a feed of changes: what is opened or listed is asked for again when it is older than a moment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import Disk, key, mounted
from vfs.store.base import ObjectMeta
from vfs.store.metered import Metered


@asynccontextmanager
async def two(**changes: object) -> AsyncIterator[tuple[Disk, Disk, MemoryStore]]:
    """Two mounts of one user that know of each other through the store alone."""
    store = MemoryStore(S3_LIKE)
    async with mounted(store, **changes) as one, mounted(store, **changes) as other:
        yield one, other, store


async def test_close_to_open(autojump_clock: MockClock) -> None:
    """What was closed on one mount a moment ago is what an open on the other reads, attributes and all."""
    async with two() as (one, other, _):
        await one.save("workspace/f", b"first")
        assert await other.load("workspace/f") == b"first"
        for number in range(5):
            text = b"version %d" % number * (number + 1)
            await one.save("workspace/f", text)
            await trio.sleep(1.5)
            assert await other.load("workspace/f") == text
            assert (await other.stat("workspace/f")).attr.size == len(text)


async def test_always_asked_where_that_is_wanted() -> None:
    async with two(revalidate=0.0) as (one, other, _):
        for number in range(5):
            await one.save("workspace/f", b"version %d" % number)
            assert await other.load("workspace/f") == b"version %d" % number


async def test_a_directory_is_listed_again(autojump_clock: MockClock) -> None:
    async with two() as (one, other, _):
        await one.mkdir("workspace/d")
        assert await other.listdir("workspace/d") == []
        await one.save("workspace/d/new", b"")
        await trio.sleep(1.5)
        assert await other.listdir("workspace/d") == ["new"]
        await one.unlink("workspace/d/new")
        await trio.sleep(1.5)
        assert await other.listdir("workspace/d") == []


async def test_one_request_for_an_open_and_none_for_one_soon_after(autojump_clock: MockClock) -> None:
    store = Metered(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"content")

        async def asked() -> dict[str, int]:
            before = {name: call.ended for name, call in store.statistics().calls.items()}
            await disk.close(await disk.open("workspace/f", os.O_RDONLY))
            after = {name: call.ended for name, call in store.statistics().calls.items()}
            return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}

        assert await asked() == {}
        await trio.sleep(5)
        assert await asked() == {"head": 1}
        assert await asked() == {}


async def test_trusting_the_time_to_live(autojump_clock: MockClock) -> None:
    async with two(revalidate=float("inf")) as (one, other, _):
        await one.save("workspace/f", b"first")
        assert await other.load("workspace/f") == b"first"
        await one.save("workspace/f", b"second")
        await trio.sleep(200)
        assert (await other.stat("workspace/f")).attr.size == 5
        await trio.sleep(200)
        assert await other.load("workspace/f") == b"second"


async def test_a_listing_finds_out_what_was_changed_without_asking_for_the_rest(
    autojump_clock: MockClock,
) -> None:
    """The listing carries versions: only another one is asked for."""
    memory = MemoryStore(S3_LIKE)
    store = Metered(memory)
    async with mounted(store) as disk:
        for number in range(10):
            await disk.save(f"workspace/{number}", b"x")
        assert len(await disk.tree()) == 10
        await memory.put(key("workspace/3"), [b"other"], ObjectMeta())
        await trio.sleep(2)
        before = store.statistics().calls["head"].ended
        assert len(await disk.listdir("workspace")) == 10
        assert store.statistics().calls["head"].ended == before + 1
        assert (await disk.stat("workspace/3")).attr.size == 5


@pytest.mark.parametrize("path", ["workspace/d/f", "workspace/d", ""])
async def test_what_is_to_be_asked_again_is(path: str) -> None:
    """`agentfs refresh`."""
    async with two(revalidate=float("inf")) as (one, other, store):
        await one.mkdir("workspace/d")
        await one.save("workspace/d/f", b"first")
        assert await other.load("workspace/d/f") == b"first"
        assert await other.listdir("workspace/d") == ["f"]
        await store.put(key("workspace/d/f"), [b"from a browser"], ObjectMeta())
        await store.put(key("workspace/d/g"), [b"new"], ObjectMeta())
        assert (await other.stat("workspace/d/f")).attr.size == 5
        await other.fs.ask_again(path)
        assert await other.load("workspace/d/f") == b"from a browser"
        if path != "workspace/d/f":
            assert await other.listdir("workspace/d") == ["f", "g"]


async def test_a_name_that_a_listing_does_not_show_any_more_is_free(autojump_clock: MockClock) -> None:
    async with two() as (one, other, _):
        await one.mkdir("workspace/d")
        await one.save("workspace/f", b"x")
        assert await other.tree() == ["workspace/d", "workspace/f"]
        await one.rmdir("workspace/d")
        await one.unlink("workspace/f")
        await trio.sleep(1.5)
        assert await other.listdir("workspace") == []
        await other.mkdir("workspace/d")
        await other.mkdir("workspace/f")
        assert await other.listdir("workspace") == ["d", "f"]
