"""What every SharedCache tells the mounts that share it."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.contract.shared import FOLDER, KEY, Heard, MakeShared, entry, in_memory, in_redis
from vfs.meta.shared import Change, Kind, SharedCache


@pytest.fixture(params=["memory", "redis"])
def make_shared(request: pytest.FixtureRequest) -> MakeShared:
    return in_memory() if request.param == "memory" else in_redis(request.getfixturevalue("redis_server"))


@asynccontextmanager
async def listening(make_shared: MakeShared) -> AsyncIterator[tuple[SharedCache, Heard]]:
    """A mount that follows the feed."""
    shared, heard = make_shared(), Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.run, heard)
        await heard.alive()
        yield shared, heard
        nursery.cancel_scope.cancel()
    await shared.aclose()


async def test_others_hear_what_one_did_and_it_does_not_hear_itself(make_shared: MakeShared) -> None:
    changes = [
        Change(Kind.PUT, "workspace/ö x", entry(9, xattrs={"user.a": b"1"})),
        Change(Kind.DROP, "workspace/b c"),
        Change(Kind.TREE, "workspace/d"),
        Change(Kind.PUT, "workspace/d", FOLDER),
        Change(Kind.PUT, "workspace/ö x", entry(10)),
    ]
    async with listening(make_shared) as (one, deaf), listening(make_shared) as (two, heard):
        await one.publish(changes[:2])
        await one.publish(changes[2:])
        await heard.until(lambda heard: len(heard.changes) == 5)
        assert heard.changes == changes
        await two.publish([Change(Kind.DROP, "memory/x")])
        await deaf.until(lambda heard: bool(heard.changes))
        assert deaf.changes == [Change(Kind.DROP, "memory/x")]
        assert len(heard.changes) == 5
        assert (one.statistics().published, two.statistics().received) == (5, 5)
        assert heard.states == deaf.states == [True]


async def test_what_is_below_a_tree_is_for_the_cache_only(make_shared: MakeShared) -> None:
    async with listening(make_shared) as (one, _), listening(make_shared) as (_, heard):
        await one.publish([Change(Kind.TREE, "workspace/d", below=["workspace/d/e"])])
        await heard.until(lambda heard: bool(heard.changes))
        assert heard.changes == [Change(Kind.TREE, "workspace/d")]


async def test_all_is_heard_as_all(make_shared: MakeShared) -> None:
    async with listening(make_shared) as (one, deaf), listening(make_shared) as (_, heard):
        await one.publish([Change(Kind.ALL)])
        await one.publish([Change(Kind.DROP, "workspace/x")])
        await heard.until(lambda heard: Change(Kind.DROP, "workspace/x") in heard.changes)
        assert set(heard.changes[:-1]) == {Change(Kind.ALL)}
        assert not deaf.changes


async def test_what_is_heard_is_in_the_cache(make_shared: MakeShared) -> None:
    async with listening(make_shared) as (one, _), listening(make_shared) as (two, heard):
        for size in range(50):
            await one.publish([Change(Kind.PUT, "workspace/a", entry(size))])
            await heard.until(lambda heard, count=size + 1: len(heard.changes) == count)  # type: ignore[misc]
            record = (await two.name("workspace/a", KEY))[0]
            assert record is not None
            assert record.entry == heard.changes[-1].entry


async def test_changes_are_heard_in_order_from_several(make_shared: MakeShared) -> None:
    async with (
        listening(make_shared) as (one, _),
        listening(make_shared) as (two, _),
        listening(make_shared) as (_, heard),
        trio.open_nursery() as nursery,
    ):

        async def work(shared: SharedCache, name: str) -> None:
            for size in range(100):
                await shared.publish([Change(Kind.PUT, f"workspace/{name}", entry(size))])

        nursery.start_soon(work, one, "one")
        nursery.start_soon(work, two, "two")
        await heard.until(lambda heard: len(heard.changes) == 200)
        for name in ("one", "two"):
            sizes = [change.entry.attr.size for change in heard.changes if change.path.endswith(name)]  # type: ignore[union-attr]
            assert sizes == list(range(100))


@pytest.mark.slow
async def test_others_hear_within_100_ms(make_shared: MakeShared, capsys: pytest.CaptureFixture[str]) -> None:
    delays: list[float] = []
    async with listening(make_shared) as (one, _), listening(make_shared) as (_, heard):
        for number in range(300):
            begun = time.perf_counter()
            await one.publish([Change(Kind.PUT, f"workspace/{number}", entry())])
            await heard.until(lambda heard, count=number + 1: len(heard.changes) == count)  # type: ignore[misc]
            delays.append(time.perf_counter() - begun)
    delays.sort()
    p99 = delays[math.ceil(len(delays) * 0.99) - 1]
    with capsys.disabled():
        print(f"\n[publish to heard: median {delays[150] * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms]")  # noqa: T201
    assert p99 < 0.1
