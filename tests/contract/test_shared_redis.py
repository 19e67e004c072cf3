"""What is of Redis only: what is lost, evicted, garbage, trimmed; and how many commands are sent."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest
import trio

from tests.contract.shared import FOLDER, KEY, SECONDS, Heard, MakeShared, entry, in_redis
from tests.servers.redis import RedisServer
from tests.servers.relay import Relay
from vfs.meta.redis import Limits, Location, RedisCache
from vfs.meta.shared import Change, Kind, Record, SharedCache
from vfs.types import ETag, Key

QUICK = Limits(connect_timeout=0.2, command_timeout=0.3, queue_timeout=0.3, calm=0.0, block=0.1, beat=0.2)
ALL = Change(Kind.ALL)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that the test may break."""
    found = RedisServer()
    yield found
    found.close()


@asynccontextmanager
async def mounts(make: MakeShared, count: int = 2) -> AsyncIterator[list[tuple[SharedCache, Heard]]]:
    async with AsyncExitStack() as stack:
        made = [(await stack.enter_async_context(aclosing(make())), Heard()) for _ in range(count)]
        nursery = await stack.enter_async_context(trio.open_nursery())
        for shared, heard in made:
            nursery.start_soon(shared.run, heard)
        for _, heard in made:
            await heard.alive()
        yield made
        nursery.cancel_scope.cancel()


async def listed(shared: SharedCache, directory: str, names: dict[str, int]) -> None:
    version = (await shared.folder(directory)).version
    records = {name: Record(entry(size), 50.0) for name, size in names.items()}
    await shared.fill(directory, records, complete=100.0, version=version)


async def known(shared: SharedCache, directory: str = "workspace") -> set[str]:
    return set((await shared.folder(directory)).names)


async def shared_again(one: SharedCache, two: SharedCache, names: dict[str, int]) -> None:
    """What one lists is known to the other, in the end: what was filled in as a loss was noticed is not kept."""
    with trio.fail_after(SECONDS):
        await listed(one, "workspace", names)
        while await known(two) != set(names):
            await trio.sleep(0.05)  # real time: until the other has noticed, too
            await listed(one, "workspace", names)


async def heard_again(one: SharedCache, other: Heard) -> None:
    """What one tells is heard by the other, in the end: a feed that is just coming back may say ALL instead."""
    told = Change(Kind.DROP, f"workspace/{secrets.token_hex(4)}")
    with trio.fail_after(SECONDS):
        while told not in other.changes:
            await one.publish([told])
            await trio.sleep(0.05)  # real time


def keys(server: RedisServer, pattern: str) -> list[str]:
    return sorted(server.ask("KEYS", pattern))


async def test_after_flushall_nothing_old_is_filled_in_or_believed(server: RedisServer) -> None:
    async with mounts(in_redis(server, QUICK)) as [(one, heard), (two, other)]:
        await listed(one, "workspace", {"a": 1})
        before = await one.folder("workspace")
        server.ask("FLUSHALL")
        await one.fill("workspace", {"a": Record(entry(), 1.0)}, complete=1.0, version=before.version)
        assert not await known(two)
        await heard.until(lambda heard: ALL in heard.changes)
        await other.until(lambda heard: ALL in heard.changes)
        await shared_again(one, two, {"b": 1})
        await heard_again(one, other)


@pytest.mark.parametrize("save", [False, True], ids=["empty", "with what it held a while ago"])
async def test_a_restart_is_noticed(server: RedisServer, save: bool) -> None:
    """What a server has loaded from its disk may be older than what it was told."""
    async with mounts(in_redis(server, QUICK)) as [(one, heard), (two, other)]:
        await listed(one, "workspace", {"a": 1})
        server.restart(save=save)
        assert not await known(two)
        for each in (heard, other):
            await each.until(lambda heard: ALL in heard.changes and heard.states[-1])
        assert not await known(one)
        await shared_again(one, two, {"b": 1})
        await heard_again(one, other)


@pytest.mark.parametrize("lost", ["state", "stream", "dir:workspace"])
async def test_any_key_may_be_evicted(server: RedisServer, lost: str) -> None:
    async with mounts(in_redis(server, QUICK)) as [(one, _), (two, other)]:
        await listed(one, "workspace", {"a": 1})
        before = await one.folder("workspace")
        await one.publish([Change(Kind.PUT, "workspace/b", entry())])
        await other.until(lambda heard: bool(heard.changes))
        [key] = keys(server, f"*:{lost}")
        server.ask("DEL", key)
        await one.fill("workspace", {"old": Record(entry(), 1.0)}, complete=1.0, version=before.version)
        assert await known(two) == ({"a", "b"} if lost == "stream" else set())
        await one.publish([Change(Kind.DROP, "workspace/b")])
        await other.until(lambda heard: heard.changes[-1] in (ALL, Change(Kind.DROP, "workspace/b")))
        assert "b" not in await known(two)


async def test_a_stream_that_is_lost_unread_is_noticed_without_another_entry(server: RedisServer) -> None:
    with Relay(server.port) as relay:
        near = RedisCache(Location.parse(server.url, {}), "s", "u", QUICK)
        far = RedisCache(Location.parse(f"redis://127.0.0.1:{relay.port}", {}), "s", "u", QUICK)
        async with mounts(lambda: near, 1) as [(one, _)], mounts(lambda: far, 1) as [(_, other)]:
            relay.cut()
            await other.away()
            await one.publish([Change(Kind.PUT, "workspace/b", entry())])
            [key] = keys(server, "*:stream")
            server.ask("DEL", key)
            relay.mend()
            await other.alive()
            assert other.changes == [ALL]


@pytest.mark.slow
@pytest.mark.parametrize(("length", "lost"), [(10, True), (10_000, False)])
async def test_a_mount_that_was_away_resumes_unless_the_stream_was_trimmed(
    server: RedisServer, length: int, lost: bool
) -> None:
    limits = Limits(connect_timeout=0.2, command_timeout=0.3, block=0.1, beat=0.2, stream_length=length)
    with Relay(server.port) as relay:
        near = RedisCache(Location.parse(server.url, {}), "s", "u", limits)
        far = RedisCache(Location.parse(f"redis://127.0.0.1:{relay.port}", {}), "s", "u", limits)
        async with mounts(lambda: near, 1) as [(one, _)], mounts(lambda: far, 1) as [(_, other)]:
            relay.cut()
            await other.away()
            changes = [Change(Kind.DROP, f"workspace/{number}") for number in range(1200)]
            for change in changes:
                await one.publish([change])
            relay.mend()
            await other.alive()
            assert (ALL in other.changes) == lost
            assert lost or other.changes == changes


async def test_garbage_is_not_known(server: RedisServer) -> None:
    async with mounts(in_redis(server, QUICK), 1) as [(one, _)]:
        await listed(one, "workspace", {"a": 1, "b": 2})
        [key] = keys(server, "*:dir:workspace")
        server.ask("HSET", key, "a", "garbage")
        folder = await one.folder("workspace")
        assert (set(folder.names), folder.complete) == ({"b"}, 0.0)
        assert (await one.name("workspace/a", KEY))[0] is None
        server.ask("HSET", key, "/c", "x", b"\xff", "y", "/v", "z", "/b", "-")
        assert not (await one.folder("workspace")).names
        for junk in keys(server, "*"):
            server.ask("DEL", junk)
            server.ask("SET", junk, "junk")
        await one.publish([Change(Kind.PUT, "workspace/a", entry(7))])
        record = (await one.name("workspace/a", KEY))[0]
        assert record is not None
        assert record.entry == entry(7)
        with trio.fail_after(10):
            while one.statistics().state != "connected":  # the feed, whose stream was junk, enters again
                await trio.sleep(0.05)


async def test_what_the_format_cannot_hold_is_not_known(server: RedisServer) -> None:
    """A time in the year 9999, as touch(1) can set it."""
    odd = entry()
    late = type(odd)(type(odd.attr)(0o100644, 0, 0, 1, 253402300799 * 10**9, 0, 0), ETag("e"))
    async with mounts(in_redis(server, QUICK)) as [(one, _), (two, other)]:
        await listed(one, "workspace", {"a": 1, "b": 2})
        await one.publish([Change(Kind.PUT, "workspace/a", late)])
        folder = await two.folder("workspace")
        assert (set(folder.names), folder.complete) == ({"b"}, 0.0)
        await other.until(lambda heard: bool(heard.changes))
        assert other.changes == [Change(Kind.TREE, "workspace/a")]


async def test_more_dropped_trees_than_are_remembered(server: RedisServer) -> None:
    async with mounts(in_redis(server, QUICK)) as [(one, _), (two, _)]:
        await listed(one, "workspace/d/e", {"a": 1})
        for first in range(0, 5000, 500):
            trees = [Change(Kind.TREE, f"workspace/{number}") for number in range(first, first + 500)]
            await one.publish(trees)
        await listed(one, "workspace/d/e", {"b": 1})
        assert await known(two, "workspace/d/e") == {"b"}
        await one.publish([Change(Kind.TREE, "workspace/d")])
        assert not await known(two, "workspace/d/e")
        [key] = keys(server, "*:state")
        assert server.ask("HLEN", key) < 5000


async def test_contents_are_bounded_and_the_oldest_go(server: RedisServer) -> None:
    limits = Limits(content_size=1000, content_total=16_000, content_segments=4)
    async with aclosing(in_redis(server, limits)()) as shared:
        for number in range(100):
            await shared.keep_content(Key(f"k{number}"), ETag("e"), b"x" * 1000)
            assert await shared.content(Key(f"k{number}"), ETag("e")) == b"x" * 1000
        kept = [n for n in range(100) if await shared.content(Key(f"k{n}"), ETag("e"))]
        assert kept == list(range(100 - len(kept), 100))
        assert 9 <= len(kept) <= 12  # three to a segment
        for key in keys(server, "*:content*"):
            assert server.ask("TTL", key) > 0


async def test_small_contents_that_came_along_with_names_are_bounded_too(server: RedisServer) -> None:
    """Each takes half a KiB beside its bytes."""
    limits = Limits(content_ahead=16_384)
    async with aclosing(in_redis(server, limits)()) as shared:
        names = {f"workspace/{number}": Key(f"users/u/workspace/{number}") for number in range(100)}
        await shared.publish([Change(Kind.PUT, path, entry()) for path in names])
        for path, key in names.items():
            await shared.keep_content(key, entry().etag, b"x")
            assert (await shared.name(path, key))[0] is not None
        before = shared.statistics().round_trips
        for key in names.values():
            assert await shared.content(key, entry().etag) == b"x"
        asked = shared.statistics().round_trips - before
        assert 0 < len(names) - asked <= 32


async def test_large_directories(server: RedisServer) -> None:
    limits = Limits(most_names=10_000)
    async with aclosing(in_redis(server, limits)()) as shared:
        names = {f"n{number}": number for number in range(10_000)}
        await listed(shared, "workspace", names)
        folder = await shared.folder("workspace")
        assert (len(folder.names), folder.complete) == (10_000, 100.0)
        await listed(shared, "memory", {**names, "more": 1})
        assert not await known(shared, "memory")
        for number in range(3):
            await shared.publish([Change(Kind.PUT, f"workspace/new{number}", FOLDER)])
        folder = await shared.folder("workspace")
        assert (len(folder.names) < 10, folder.complete) == (True, 0.0)


async def test_each_call_is_one_command_and_every_key_expires(server: RedisServer) -> None:
    async with aclosing(in_redis(server)()) as one:
        for _ in range(2):
            await listed(one, "workspace", {"a": 1})
            await one.name("workspace/a", KEY)
            await one.names(["workspace/a", "memory/x"])
            await one.publish([Change(Kind.PUT, "workspace/b", entry()), Change(Kind.TREE, "memory/x")])
            await one.keep_content(Key("k"), ETag("e"), b"data")
            await one.content(Key("k"), ETag("e"))
            sent = server.calls("evalsha") + server.calls("eval")
            server.ask("CONFIG", "RESETSTAT")
        assert sent == 7
        assert one.statistics().round_trips == 2 * 7 + 7  # the first of each script sent its text, too
        assert all(server.ask("TTL", key) > 0 for key in keys(server, "*"))
        assert all("{" in key for key in keys(server, "*"))


async def test_spaces_and_users_do_not_mix(server: RedisServer) -> None:
    location = Location.parse(server.url, {})
    caches = [RedisCache(location, space, user) for space in ("s3://a", "s3://b") for user in ("u1", "u2")]
    for number, cache in enumerate(caches):
        await listed(cache, "workspace", {str(number): 1})
        await cache.keep_content(Key("k"), ETag("e"), str(number).encode())
    for number, cache in enumerate(caches):
        assert await known(cache) == {str(number)}
        assert await cache.content(Key("k"), ETag("e")) == str(number).encode()
        await cache.aclose()
