"""What every SharedCache does: the fake and the one in Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract.shared import FOLDER, KEY, MakeShared, entry, in_memory, in_redis
from vfs.meta.shared import Change, Kind, Record, SharedCache
from vfs.types import ETag, Key

ETAG = ETag("e")


@dataclass
class Two:
    """Two mounts of one user."""

    one: SharedCache
    two: SharedCache


@pytest.fixture(params=["memory", "redis", "redis-socket"])
def make_shared(request: pytest.FixtureRequest) -> MakeShared:
    if request.param == "memory":
        return in_memory()
    server = request.getfixturevalue("redis_server")
    return in_redis(server, url=server.socket_url if request.param == "redis-socket" else "")


@pytest.fixture
async def two(make_shared: MakeShared) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        mounts = [await stack.enter_async_context(aclosing(make_shared())) for _ in range(2)]
        yield Two(*mounts)


async def filled(shared: SharedCache, directory: str, *names: str, complete: float = 100.0) -> None:
    """As a mount does that lists a directory."""
    before = await shared.folder(directory)
    records = {name: Record(entry(len(name)), 50.0) for name in names}
    await shared.fill(directory, records, complete=complete, version=before.version)


async def put(shared: SharedCache, path: str, **rest: Any) -> None:
    await shared.publish([Change(Kind.PUT, path, entry(**rest))])


async def test_nothing_is_known_at_first(two: Two) -> None:
    folder = await two.one.folder("workspace")
    assert (dict(folder.names), folder.complete) == ({}, 0.0)
    assert folder.version >= 0
    record, version = await two.one.name("workspace/a", KEY)
    assert (record, version) == (None, folder.version)
    assert await two.one.names(["workspace/a", "memory/b"]) == {}
    assert await two.one.names([]) == {}


async def test_a_listing_that_was_filled_in_is_known_to_all(two: Two) -> None:
    await filled(two.one, "workspace", "a", "bb", complete=123.456789)
    folder = await two.two.folder("workspace")
    assert folder.complete == 123.456789
    assert folder.names == {"a": Record(entry(1), 50.0), "bb": Record(entry(2), 50.0)}
    record, version = await two.two.name("workspace/bb", KEY)
    assert (record, version) == (folder.names["bb"], folder.version)


async def test_an_empty_listing_is_one(two: Two) -> None:
    await filled(two.one, "workspace/empty")
    folder = await two.two.folder("workspace/empty")
    assert (dict(folder.names), folder.complete) == ({}, 100.0)


async def test_what_is_not_among_all_names_is_not_there(two: Two) -> None:
    await filled(two.one, "workspace", "a")
    assert (await two.two.name("workspace/b", KEY))[0] == Record(None, 100.0)
    assert await two.two.names(["workspace/b"]) == {"workspace/b": Record(None, 100.0)}


async def test_entries_come_back_as_they_were(two: Two) -> None:
    odd = entry(5 << 40, "a-9", xattrs={"user.x": b"\0\xff", "user.ü": b""}, rdev=2049)
    names = {"ö x\n": Record(odd, 1.25), "gone": Record(None, 2.5), "d": Record(FOLDER, 3.0)}
    version = (await two.one.folder("memory")).version
    await two.one.fill("memory", names, complete=4.0, version=version)
    assert (await two.two.folder("memory")).names == names
    assert await two.two.names([f"memory/{name}" for name in names]) == {
        f"memory/{name}": record for name, record in names.items()
    }


async def test_single_names_are_added_to_what_is_known(two: Two) -> None:
    version = (await two.one.name("workspace/a", KEY))[1]
    await two.one.fill("workspace", {"a": Record(entry(), 1.0)}, complete=0.0, version=version)
    await two.one.fill("workspace", {"b": Record(None, 2.0)}, complete=0.0, version=version)
    folder = await two.two.folder("workspace")
    assert folder.names == {"a": Record(entry(), 1.0), "b": Record(None, 2.0)}
    assert folder.complete == 0.0
    assert (await two.two.name("workspace/c", KEY))[0] is None


async def test_a_new_listing_replaces_the_old(two: Two) -> None:
    await filled(two.one, "workspace", "a", "b")
    await filled(two.two, "workspace", "b", "c", complete=200.0)
    folder = await two.one.folder("workspace")
    assert (set(folder.names), folder.complete) == ({"b", "c"}, 200.0)


async def test_nothing_is_filled_in_when_a_mount_wrote_meanwhile(two: Two) -> None:
    before = await two.one.folder("workspace")
    await put(two.two, "workspace/a")
    stale = {"old": Record(entry(), 1.0)}
    await two.one.fill("workspace", stale, complete=1.0, version=before.version)
    await two.one.fill("workspace", stale, complete=0.0, version=before.version)
    folder = await two.one.folder("workspace")
    assert (set(folder.names), folder.complete) == ({"a"}, 0.0)
    assert folder.version != before.version


@pytest.mark.parametrize(
    "change", [Change(Kind.DROP, "workspace/d/a"), Change(Kind.TREE, "workspace"), Change(Kind.ALL)]
)
async def test_no_listing_outlives_what_was_dropped(two: Two, change: Change) -> None:
    await filled(two.one, "workspace/d", "a")
    before = await two.one.folder("workspace/d")
    await two.two.publish([change])
    await two.one.fill("workspace/d", {"a": Record(entry(), 1.0)}, complete=1.0, version=before.version)
    assert "a" not in (await two.two.folder("workspace/d")).names


async def test_without_a_version_nothing_is_filled_in(two: Two) -> None:
    await two.one.fill("workspace", {"a": Record(entry(), 1.0)}, complete=1.0, version=-1)
    assert not (await two.one.folder("workspace")).names


async def test_puts_are_known_at_once_and_keep_a_listing_whole(two: Two) -> None:
    await filled(two.one, "workspace", "a")
    begun = time.time()
    await put(two.one, "workspace/a", size=77)
    await put(two.two, "workspace/new", size=78)
    folder = await two.one.folder("workspace")
    sizes = {name: record.entry.attr.size for name, record in folder.names.items() if record.entry}
    assert (sizes, folder.complete) == ({"a": 77, "new": 78}, 100.0)
    assert (await two.two.names(["workspace/a"]))["workspace/a"] == folder.names["a"]
    assert folder.names["a"].at == 1e9 or begun <= folder.names["a"].at <= time.time()


async def test_a_put_where_nothing_is_known_is_known(two: Two) -> None:
    await put(two.one, "workspace/x/y", size=3)
    folder = await two.two.folder("workspace/x")
    assert (set(folder.names), folder.complete) == ({"y"}, 0.0)


async def test_names_in_the_root(two: Two) -> None:
    await two.one.publish([Change(Kind.PUT, "workspace", FOLDER)])
    record, version = await two.two.name("workspace", KEY)
    assert record is not None
    assert record.entry == FOLDER
    assert (await two.two.names(["workspace"]))["workspace"].entry == FOLDER
    await two.two.fill("", {"memory": Record(FOLDER, 1.0)}, complete=1.0, version=version)
    assert set((await two.one.folder("")).names) == {"memory"}


async def test_a_name_that_was_dropped_is_gone_and_so_is_its_directory(two: Two) -> None:
    await filled(two.one, "workspace", "a", "d")
    await filled(two.one, "workspace/d", "x")
    await two.two.publish([Change(Kind.DROP, "workspace/d")])
    folder = await two.one.folder("workspace")
    assert (set(folder.names), folder.complete) == ({"a"}, 100.0)
    below = await two.one.folder("workspace/d")
    assert (dict(below.names), below.complete) == ({}, 0.0)


async def test_a_dropped_tree_is_not_known_at_any_depth(two: Two) -> None:
    for directory in ("workspace", "workspace/d", "workspace/d/e/f", "workspace/dd"):
        await filled(two.one, directory, "d", "x")
    await two.two.publish([Change(Kind.TREE, "workspace/d", below=["workspace/d/e"])])
    for directory in ("workspace/d", "workspace/d/e/f"):
        assert not (await two.one.names([f"{directory}/x"]))
        folder = await two.one.folder(directory)
        assert (dict(folder.names), folder.complete) == ({}, 0.0)
    assert (await two.one.folder("workspace/dd")).complete == 100.0
    folder = await two.one.folder("workspace")
    assert (set(folder.names), folder.complete) == ({"x"}, 0.0)
    assert (await two.one.name("workspace/d", KEY))[0] is None


async def test_changes_of_one_call_are_taken_in_order(two: Two) -> None:
    """A directory renamed over another: what was below either is not known, and both names are."""
    await filled(two.one, "workspace", "a", "b")
    for directory in ("workspace/a", "workspace/a/s", "workspace/b"):
        await filled(two.one, directory, "x")
    changes = [
        Change(Kind.PUT, "workspace/a/s/late", entry()),
        Change(Kind.TREE, "workspace/a"),
        Change(Kind.TREE, "workspace/b"),
        Change(Kind.DROP, "workspace/a"),
        Change(Kind.PUT, "workspace/b", FOLDER),
        Change(Kind.PUT, "workspace/b/new", entry()),
    ]
    await two.two.publish(changes)
    folder = await two.one.folder("workspace")
    assert (set(folder.names), folder.complete) == ({"b"}, 100.0)
    assert folder.names["b"].entry == FOLDER
    assert not (await two.one.folder("workspace/a/s")).names
    assert set((await two.one.folder("workspace/b")).names) == {"new"}


async def test_after_all_was_dropped_nothing_is_known(two: Two) -> None:
    await filled(two.one, "workspace", "a")
    await two.two.publish([Change(Kind.ALL), Change(Kind.PUT, "workspace/b", entry())])
    folder = await two.one.folder("workspace")
    assert (set(folder.names), folder.complete) == ({"b"}, 0.0)


async def test_names_of_many_directories_in_one_question(two: Two) -> None:
    for number in range(20):
        await filled(two.one, f"workspace/{number}", *(f"n{index}" for index in range(130)))
    paths = [f"workspace/{number}/n{index}" for index in range(130) for number in range(21)]
    before = two.two.statistics().round_trips
    found = await two.two.names(paths)
    assert set(found) == {path for path in paths if not path.startswith("workspace/20/")}
    assert two.two.statistics().round_trips <= before + 2  # the first of a script sends its text


async def test_contents_belong_to_a_version(two: Two) -> None:
    assert await two.one.content(KEY, ETAG) is None
    await two.one.keep_content(KEY, ETAG, b"data\0\xff")
    await two.one.keep_content(KEY, ETag("empty"), b"")
    assert await two.two.content(KEY, ETAG) == b"data\0\xff"
    assert await two.two.content(KEY, ETag("empty")) == b""
    assert await two.two.content(KEY, ETag("other")) is None
    assert await two.two.content(Key("users/u/workspace/b"), ETAG) is None


async def test_a_content_comes_along_with_its_name(two: Two) -> None:
    await two.two.content(KEY, ETAG)  # the first question of its kind takes its script along
    for etag in ("e1", "ü-é" * 30):
        await put(two.one, "workspace/a", etag=etag)
        await two.one.keep_content(KEY, ETag(etag), etag.encode())
        record, _ = await two.two.name("workspace/a", KEY)
        assert record is not None
        assert record.entry == entry(etag=etag)
        before = two.two.statistics().round_trips
        assert await two.two.content(KEY, ETag(etag)) == etag.encode()
        assert two.two.statistics().round_trips == before
        assert await two.two.content(KEY, ETag(etag)) == etag.encode()
        assert two.two.statistics().round_trips == before + 1, "it is kept for one question"


async def test_a_content_of_another_version_does_not_come_along(two: Two) -> None:
    await two.one.keep_content(KEY, ETAG, b"old")
    await put(two.one, "workspace/a", etag="new")
    await two.two.content(KEY, ETag("none"))  # the first question of its kind takes its script along
    await two.two.name("workspace/a", KEY)
    before = two.two.statistics().round_trips
    assert await two.two.content(KEY, ETag("new")) is None
    assert await two.two.content(KEY, ETAG) == b"old"
    assert two.two.statistics().round_trips == before + 2


async def test_contents_that_are_too_large_are_not_kept(two: Two) -> None:
    await two.one.keep_content(KEY, ETAG, bytes(64 << 10))
    await two.one.keep_content(KEY, ETag("large"), bytes((64 << 10) + 1))
    assert await two.one.content(KEY, ETAG) == bytes(64 << 10)
    assert await two.one.content(KEY, ETag("large")) is None


async def test_every_call_is_one_round_trip(two: Two) -> None:
    async def all_calls() -> None:
        folder = await two.one.folder("workspace")
        await two.one.name("workspace/a", KEY)
        await two.one.names(["workspace/a", "memory/b"])
        await two.one.fill("workspace", {"a": Record(entry(), 1.0)}, complete=1.0, version=folder.version)
        await two.one.publish([Change(Kind.PUT, "workspace/a", entry()), Change(Kind.TREE, "memory/b")])
        await two.one.content(KEY, ETAG)
        await two.one.keep_content(KEY, ETAG, b"x")

    await all_calls()  # the first of each script sends its text
    before = two.one.statistics()
    await all_calls()
    after = two.one.statistics()
    assert after.round_trips - before.round_trips == 7
    assert after.published - before.published == 2
    assert after.state == "connected"
    assert after.refused == 0


async def test_hits_and_misses_are_counted(two: Two) -> None:
    await two.one.name("workspace/a", KEY)
    await filled(two.one, "workspace", "a")
    await two.one.folder("workspace")
    await two.one.names(["workspace/a", "memory/b"])
    numbers = two.one.statistics()
    assert (numbers.hits, numbers.misses) == (2, 3)
