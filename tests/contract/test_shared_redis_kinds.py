"""A Cluster whose slot moves, and Sentinels whose primary dies: found by their URLs, and never believed too long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing

import pytest
import trio

from tests.contract.shared import entry
from tests.contract.test_shared_redis import (
    ALL,
    QUICK,
    heard_again,
    keys,
    known,
    listed,
    mounts,
    shared_again,
)
from tests.servers.redis import RedisSentinel, RedisServer, with_replica
from tests.servers.redis_cluster import RedisCluster
from vfs.meta.redis import Location, RedisCache
from vfs.meta.shared import Change, Kind, SharedCache
from vfs.types import ETag, Key

pytestmark = pytest.mark.slow

LONGEST = 4.0
"""Seconds for one call on a busy machine: what is between two nodes is asked for again, for half a second."""


async def until(agrees: object, seconds: float = 20.0) -> None:
    with trio.fail_after(seconds):
        while not agrees():  # type: ignore[operator]
            await trio.sleep(0.05)


async def test_a_cluster_whose_slot_is_given_to_another_node_empty() -> None:
    with closing(RedisCluster()) as cluster:
        first, second = cluster.first, cluster.second
        location = Location.parse(f"redis+cluster://127.0.0.1:{second.port}", {})
        async with mounts(lambda: RedisCache(location, "s", "u", QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"a": 1})
            await one.keep_content(Key("k"), ETag("e"), b"data")
            assert await known(two) == {"a"}
            assert await two.content(Key("k"), ETag("e")) == b"data"
            await one.publish([Change(Kind.PUT, "workspace/b", entry()), Change(Kind.TREE, "workspace/c")])
            await other.until(lambda heard: len(heard.changes) == 2)
            assert keys(first, "*")
            [slot] = {cluster.slot(key) for key in keys(first, "*")}
            first.ask("FLUSHALL")
            cluster.end_move(slot)
            for each in (heard, other):
                await each.until(lambda heard: ALL in heard.changes)
            await until(lambda: heard.states[-1] and other.states[-1])
            await shared_again(one, two, {"c": 1})
            await heard_again(one, other)
            assert keys(second, "*")


class Writer:
    """Changes one file again and again through `mount`; `reader` is another mount, which hears of it."""

    def __init__(self, name: str, mount: SharedCache, reader: SharedCache, heard: Sequence[Change]) -> None:
        self.name = name
        self.size = 1
        self._mount = mount
        self._reader = reader
        self._heard = heard

    async def write(self, *, somewhere_new: bool = False) -> None:
        """What was told is not seen as it was before."""
        self.size += 1
        changes = [Change(Kind.PUT, f"workspace/{self.name}", entry(self.size))]
        if somewhere_new:
            changes.append(Change(Kind.PUT, f"workspace/{self.name}{self.size}/file", entry()))
        before, begun = self._mount.statistics().published, time.monotonic()
        await self._mount.publish(changes)
        assert time.monotonic() - begun < LONGEST
        told, begun = self._mount.statistics().published > before, time.monotonic()
        record = (await self._reader.folder("workspace")).names.get(self.name)
        assert time.monotonic() - begun < LONGEST
        assert record is None or not told or record.entry == entry(self.size)

    def believed(self) -> int | None:
        """The size that the other mount believes in; None when it believes nothing."""
        size: int | None = 1
        for change in self._heard:
            if change.kind is Kind.ALL:
                size = None
            elif change.path == f"workspace/{self.name}":
                size = change.entry.attr.size if change.entry else None
        return size


@pytest.mark.parametrize("backwards", [False, True], ids=["state last", "state first"])
async def test_a_cluster_whose_slot_moves_while_it_is_used(backwards: bool) -> None:
    """Scripts are refused, or end in their middle, where one of their keys is here and another one there."""
    with closing(RedisCluster()) as cluster:
        location = Location.parse(f"redis+cluster://127.0.0.1:{cluster.first.port}", {})
        async with mounts(lambda: RedisCache(location, "s", "u", QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"one": 1, "two": 1, "three": 1})
            await listed(one, "memory", {"m": 1})
            await one.keep_content(Key("k"), ETag("e"), b"data")
            writers = (Writer("one", one, two, other.changes), Writer("two", two, one, heard.changes))
            [slot] = {cluster.slot(key) for key in keys(cluster.first, "*")}
            cluster.begin_move(slot)
            while left := keys(cluster.first, "*"):
                for writer in writers:
                    await writer.write(somewhere_new=len(left) % 2 == 0)
                cluster.move(left[-1 if backwards else 0])
                await trio.sleep(0.3)  # real time: a beat of the feed
            assert "between two nodes" in one.statistics().cause
            cluster.end_move(slot)
            for each in (heard, other):
                await each.until(lambda heard: ALL in heard.changes)
                await each.alive()
            await agreed(writers, one, two)
            await shared_again(one, two, {"c": 1})
            await heard_again(one, other)
            assert keys(cluster.second, "*")


async def agreed(writers: Sequence[Writer], *mounts: SharedCache) -> None:
    """Nobody believes in what was written over, nor is told of it."""
    await until(lambda: all(writer.believed() in (None, writer.size) for writer in writers))
    await until(lambda: all(mount.statistics().state == "connected" for mount in mounts))
    for mount in mounts:
        names = (await mount.folder("workspace")).names
        for writer in writers:
            record = names.get(writer.name)
            assert record is None or record.entry == entry(writer.size)


@pytest.mark.parametrize("slots", [1, 0], ids=["which has others", "which has none"])
async def test_a_cluster_that_refers_to_another_node(slots: int) -> None:
    """All has moved to that node and the slot is not its own yet, which may take as long as those of others take."""
    with closing(RedisCluster(slots)) as cluster:
        location = Location.parse(f"redis+cluster://127.0.0.1:{cluster.first.port}", {})
        async with mounts(lambda: RedisCache(location, "s", "u", QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"one": 1, "two": 1})
            writers = (Writer("one", one, two, other.changes), Writer("two", two, one, heard.changes))
            [slot] = {cluster.slot(key) for key in keys(cluster.first, "*")}
            cluster.begin_move(slot)
            for key in keys(cluster.first, "*"):
                cluster.move(key)
            for each in (heard, other):  # it is another server
                await each.until(lambda heard: ALL in heard.changes and heard.states[-1])
            await shared_again(one, two, {"one": 1, "two": 1})
            for writer in writers:
                await writer.write()
                await until(lambda writer=writer: writer.believed() == writer.size)
            assert not keys(cluster.first, "*")
            cluster.end_move(slot)
            for writer in writers:
                await writer.write()
            await agreed(writers, one, two)
            await until(lambda: {each.statistics().state for each in (one, two)} == {"connected"})


async def test_a_cluster_all_of_whose_nodes_were_replaced() -> None:
    """Those that it had when it was last asked are gone; the URL names one that is there."""
    with closing(RedisCluster()) as cluster:
        places = ",".join(f"127.0.0.1:{node.port}" for node in (cluster.first, cluster.second))
        location = Location.parse(f"redis+cluster://{places}", {})
        async with mounts(lambda: RedisCache(location, "s", "u", QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"a": 1})
            assert await known(two) == {"a"}
            cluster.replicate()
            cluster.take_over()
            await one.publish([Change(Kind.DROP, "workspace/a")])
            for each in (heard, other):
                await until(lambda each=each: ALL in each.changes and each.states[-1])
            assert not await known(two)
            await shared_again(one, two, {"c": 1})
            await heard_again(one, other)


async def test_sentinels_want_a_password_of_their_own() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(closing(RedisServer()))
        sentinel = stack.enter_context(closing(RedisSentinel(server, requirepass="sentinel-secret")))
        place = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
        right = Location.parse(place, {"AGENTFS_SENTINEL_PASSWORD": "sentinel-secret"})
        async with mounts(lambda: RedisCache(right, "s", "u", QUICK), 1) as [(one, _)]:
            await listed(one, "workspace", {"a": 1})
            assert await known(one) == {"a"}
        wrong = RedisCache(Location.parse(place, {}), "s", "u", QUICK)
        assert not await known(wrong)
        numbers = wrong.statistics()
        assert (numbers.state, "secret" in numbers.cause) == ("away", False)
        await wrong.aclose()


async def test_a_replica_that_takes_over_is_believed_in_nothing() -> None:
    with ExitStack() as stack:
        primary, replica, sentinel = with_replica(stack)
        location = Location.parse(sentinel.url, {})
        async with mounts(lambda: RedisCache(location, "s", "u", QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"a": 1})
            assert await known(two) == {"a"}
            await until(lambda: bool(keys(replica, "*:dir:workspace")))
            primary.stop()
            await one.publish([Change(Kind.DROP, "workspace/a")])
            for each in (heard, other):
                with trio.fail_after(30):
                    while ALL not in each.changes or not each.states[-1]:
                        await trio.sleep(0.05)
            assert not await known(two)
            await heard_again(two, heard)
            assert replica.ask("INFO", "replication")["role"] == "master"
