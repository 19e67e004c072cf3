"""A Redis that does not answer, refuses, is full or slow: calls end soon, say nothing wrong, and it heals."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest
import trio
from structlog.testing import capture_logs

from tests.contract.shared import KEY, Heard, entry, in_redis
from tests.contract.test_shared_redis import ALL, QUICK, heard_again, known, listed, mounts
from tests.servers.redis import RedisServer
from tests.servers.relay import Relay
from vfs.meta.redis import Limits, Location, RedisCache
from vfs.meta.shared import Change, Kind, SharedCache
from vfs.types import ETag, Key

pytestmark = pytest.mark.slow

DROP = Change(Kind.DROP, "workspace/a")
LONGEST = 2.0
"""Seconds for one call with QUICK on a busy machine; its time limits add up to 0.8."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that the test may break."""
    found = RedisServer()
    yield found
    found.close()


async def ask_all(shared: SharedCache) -> float:
    """Every question and answer; the seconds that the slowest took. None has an answer."""
    slowest = 0.0
    for call in (
        lambda: shared.folder("workspace"),
        lambda: shared.name("workspace/a", KEY),
        lambda: shared.names(["workspace/a"]),
        lambda: shared.fill("workspace", {}, complete=1.0, version=5),
        lambda: shared.content(Key("k"), ETag("e")),
        lambda: shared.keep_content(Key("k"), ETag("e"), b"x"),
    ):
        begun = time.monotonic()
        answer = await call()  # type: ignore[no-untyped-call]
        slowest = max(slowest, time.monotonic() - begun)
        assert not getattr(answer, "names", None)
        assert answer in (None, (None, -1), {}) or answer.version == -1
    return slowest


async def healed(shared: SharedCache, other: Heard) -> None:
    """They hear each other again."""
    await heard_again(shared, other)
    assert shared.statistics().state == "connected"


async def test_a_server_that_is_stopped_costs_little_and_what_is_owed_is_paid(server: RedisServer) -> None:
    with capture_logs() as lines:
        async with mounts(in_redis(server, QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"a": 1})
            server.pause()
            assert await ask_all(one) < LONGEST
            begun = time.monotonic()
            await one.publish([DROP])
            assert time.monotonic() - begun < LONGEST
            await heard.away()
            await other.away()
            numbers = one.statistics()
            assert (numbers.state, numbers.cause.split(":")[0]) == ("away", "TimeoutError")
            begun = time.monotonic()
            for _ in range(500):
                await one.publish([DROP])
            assert time.monotonic() - begun < 1.0, "refused calls are not made, but for a probe"
            assert one.statistics().refused > 400
            server.resume()
            for each in (heard, other):
                await each.alive()
                await each.until(lambda heard: ALL in heard.changes)
            assert not await known(two)
            await healed(one, other)
    events = [line["event"] for line in lines]
    assert 1 <= events.count("redis is away") == events.count("redis is back") <= 2, "once for each mount"


async def test_many_calls_at_once_wait_no_longer_than_one(server: RedisServer) -> None:
    async with aclosing(in_redis(server, QUICK)()) as shared:
        await listed(shared, "workspace", {"a": 1})
        server.pause()
        begun = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(shared.name, "workspace/a", KEY)
        assert time.monotonic() - begun < LONGEST
        server.resume()


async def test_what_is_told_while_nobody_is_there_is_owed(server: RedisServer) -> None:
    async with mounts(in_redis(server, QUICK)) as [(one, heard), (two, other)]:
        await listed(two, "workspace", {"a": 1})
        server.stop()
        await one.publish([DROP])
        await heard.away()
        server.start()
        await heard.until(lambda heard: ALL in heard.changes)
        await other.until(lambda heard: ALL in heard.changes)
        await heard.alive()
        await healed(one, other)


async def test_one_that_loses_its_own_connection_pays_when_it_is_back(server: RedisServer) -> None:
    """Others never lost theirs: what they know is dropped because this mount says so."""
    with Relay(server.port) as relay:
        near = RedisCache(Location.parse(server.url, {}), "s", "u", QUICK)
        far = RedisCache(Location.parse(f"redis://127.0.0.1:{relay.port}", {}), "s", "u", QUICK)
        async with mounts(lambda: near, 1) as [(two, other)], mounts(lambda: far, 1) as [(one, heard)]:
            await listed(two, "workspace", {"a": 1})
            relay.cut()
            await one.publish([DROP])
            assert await known(two) == {"a"}
            assert not other.changes
            relay.mend()
            await other.until(lambda heard: ALL in heard.changes)
            await heard.until(lambda heard: ALL in heard.changes)
            assert not await known(two)
            assert other.states == [True]
            await healed(one, other)


async def test_what_is_owed_at_the_end_is_paid_then(server: RedisServer) -> None:
    with Relay(server.port) as relay:
        near = RedisCache(Location.parse(server.url, {}), "s", "u", QUICK)
        far = RedisCache(Location.parse(f"redis://127.0.0.1:{relay.port}", {}), "s", "u", QUICK)
        async with mounts(lambda: near, 1) as [(_, other)]:
            await far.folder("workspace")
            relay.cut()
            await far.publish([DROP])
            relay.mend()
            await trio.sleep(0.3)  # real time: until the breaker lets a probe pass
            await far.aclose()
            await other.until(lambda heard: ALL in heard.changes)


async def test_a_wrong_password_is_said_once_without_it() -> None:
    server = RedisServer(requirepass="right-secret")
    try:
        url = f"redis://:wrong-secret@127.0.0.1:{server.port}"
        with capture_logs() as lines:
            shared, heard = RedisCache(Location.parse(url, {}), "s", "u", QUICK), Heard()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(shared.run, heard)
                for _ in range(5):
                    assert await ask_all(shared) < LONGEST
                    await trio.sleep(0.1)
                numbers = shared.statistics()
                assert numbers.state == "away"
                assert "AuthenticationError" in numbers.cause
                assert not heard.states
                server.ask("CONFIG", "SET", "requirepass", "wrong-secret")
                await heard.alive()
                nursery.cancel_scope.cancel()
            await shared.aclose()
        assert [line["event"] for line in lines] == ["redis is away", "redis is back"]
        assert "secret" not in f"{lines}{numbers}{shared!r}{Location.parse(url, {})!r}"
    finally:
        server.close()


async def test_passwords_and_users() -> None:
    server = RedisServer(requirepass="right:/@secret")
    try:
        place = f"127.0.0.1:{server.port}"
        environment = {"REDIS_PASSWORD": "right:/@secret"}
        for location in (
            Location.parse(f"redis://:right%3A%2F%40secret@{place}", {}),
            Location.parse(f"redis://default:right%3A%2F%40secret@{place}", {}),
            Location.parse(f"redis://{place}", environment),
            Location.parse(server.socket_url, environment),
        ):
            async with aclosing(RedisCache(location, "s", "u", QUICK)) as shared:
                assert (await shared.folder("workspace")).version >= 0
    finally:
        server.close()


async def test_a_full_server_that_evicts_nothing_is_not_believed(server: RedisServer) -> None:
    async with mounts(in_redis(server, QUICK)) as [(one, heard), (two, other)]:
        await listed(one, "workspace", {"a": 1})
        assert await known(two) == {"a"}
        server.ask("CONFIG", "SET", "maxmemory", "1")
        await one.publish([DROP])
        assert not await known(two), "what one could not tell must not be read by the other"
        for each in (heard, other):
            await each.away()
        assert "OutOfMemoryError" in one.statistics().cause
        assert await ask_all(one) < LONGEST
        server.ask("CONFIG", "SET", "maxmemory", "0")
        for each in (heard, other):
            await each.alive()
            await each.until(lambda heard: ALL in heard.changes)
        await healed(one, other)


async def test_others_notice_that_nothing_can_be_told(server: RedisServer) -> None:
    """Nobody wrote: a mount that only reads still learns that it would not hear."""
    async with mounts(in_redis(server, QUICK), 1) as [(_, heard)]:
        server.ask("CONFIG", "SET", "maxmemory", "1")
        await heard.away()
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await heard.alive()


async def test_a_replica_takes_no_writes_and_is_not_used(server: RedisServer) -> None:
    primary = RedisServer()
    try:
        async with mounts(in_redis(server, QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"a": 1})
            server.ask("REPLICAOF", "127.0.0.1", primary.port)
            await one.publish([DROP])
            await heard.away()
            await other.away()
            assert not await known(two)
            server.ask("REPLICAOF", "NO", "ONE")
            await heard.alive()
            await other.alive()
            await healed(one, other)
    finally:
        primary.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl"])
async def test_nothing_wrong_is_known_where_keys_are_evicted(policy: str) -> None:
    server = RedisServer(maxmemory="3mb", maxmemory_policy=policy)
    truth: dict[str, dict[str, int]] = {f"workspace/{number}": {} for number in range(40)}
    chance, seen = random.Random(7), 0
    try:
        async with mounts(in_redis(server, QUICK)) as [(one, _), (two, _)]:
            for step in range(1500):
                directory = chance.choice(list(truth))
                name, size = f"{'n' * 100}{chance.randrange(60)}", step
                if step % 3 == 0:
                    folder = await two.folder(directory)
                    wanted = truth[directory]
                    found = {
                        name: record.entry.attr.size for name, record in folder.names.items() if record.entry
                    }
                    assert found.items() <= wanted.items()
                    assert not folder.complete or found == wanted
                    seen += len(found)
                    if not folder.complete:
                        await listed(two, directory, wanted)
                elif step % 3 == 1:
                    await one.publish([Change(Kind.PUT, f"{directory}/{name}", entry(size))])
                    truth[directory][name] = size
                else:
                    await one.publish([Change(Kind.DROP, f"{directory}/{name}")])
                    truth[directory].pop(name, None)
                if step % 5 == 0:
                    await two.keep_content(Key(f"k{step}"), ETag("e"), bytes(8000))
            assert int(server.ask("INFO", "stats")["evicted_keys"]) > 0
            assert seen
    finally:
        server.close()


async def test_a_slow_server_is_not_asked_and_still_told(server: RedisServer) -> None:
    limits = Limits(block=0.1, beat=0.5, calm=0.0)
    with Relay(server.port) as relay, capture_logs() as lines:
        near = RedisCache(Location.parse(server.url, {}), "s", "u", QUICK)
        far = RedisCache(Location.parse(f"redis://127.0.0.1:{relay.port}", {}), "s", "u", limits)
        async with mounts(lambda: near, 1) as [(_, other)], mounts(lambda: far, 1) as [(one, heard)]:
            await listed(one, "workspace", {"a": 1})
            relay.delay = 0.2
            for _ in range(8):
                folder = await one.folder("workspace")
                assert set(folder.names) in ({"a"}, set())
            assert not folder.names
            assert "ms" in one.statistics().cause
            begun = time.monotonic()
            for _ in range(100):
                await one.name("workspace/a", KEY)
            assert time.monotonic() - begun < 1.5
            await one.publish([DROP])
            await other.until(lambda heard: heard.changes == [DROP])
            assert heard.states == other.states == [True]
            relay.delay = 0.0
            with trio.fail_after(10):
                while not (await one.folder("workspace")).complete:
                    await trio.sleep(0.05)
    slow = [line["event"] for line in lines]
    assert slow == ["redis is slow, and not asked", "redis is back"]


async def test_a_user_who_may_not_read_the_feed_is_told(server: RedisServer) -> None:
    server.ask("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-xread")
    location = Location.parse(f"redis://u:pw@127.0.0.1:{server.port}", {})
    shared, heard = RedisCache(location, "s", "u", QUICK), Heard()
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shared.run, heard)
            with trio.fail_after(10):
                while not lines:
                    await trio.sleep(0.05)
            numbers = shared.statistics()
            assert (numbers.state, heard.states) == ("away", [])
            assert "NoPermissionError" in numbers.cause
            server.ask("ACL", "SETUSER", "u", "+xread")
            await heard.alive()
            nursery.cancel_scope.cancel()
        await shared.aclose()
    assert [line["event"] for line in lines] == ["changes of other mounts are not heard"]
