"""A Cluster whose slot moves, and Sentinels whose primary dies: found by their URLs, and never believed too long."""

from __future__ import annotations

from contextlib import ExitStack, closing

import trio

from tests.contract.shared import entry
from tests.contract.test_shared_redis import ALL, QUICK, keys, known, listed, mounts
from tests.servers.redis import RedisSentinel, RedisServer, cluster_node
from vfs.meta.redis import Location, RedisCache
from vfs.meta.shared import Change, Kind
from vfs.types import ETag, Key

LAST_SLOT = 16383


async def until(agrees: object, seconds: float = 20.0) -> None:
    with trio.fail_after(seconds):
        while not agrees():  # type: ignore[operator]
            await trio.sleep(0.05)


async def test_a_cluster_whose_slot_moves_to_another_node() -> None:
    with ExitStack() as stack:
        first, second = [stack.enter_context(closing(cluster_node())) for _ in range(2)]
        first.ask("CLUSTER", "ADDSLOTSRANGE", 0, LAST_SLOT)
        first.ask("CLUSTER", "MEET", "127.0.0.1", second.port, second.options["cluster_port"])
        nodes = [node.ask("CLUSTER", "MYID") for node in (first, second)]
        await until(
            lambda: all(len(node.ask("CLUSTER", "NODES").splitlines()) == 2 for node in (first, second))
        )
        await until(
            lambda: all("cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in (first, second))
        )
        location = Location.parse(f"redis+cluster://127.0.0.1:{second.port}", {})
        async with mounts(lambda: RedisCache(location, "s", "u", QUICK)) as [(one, heard), (two, other)]:
            await listed(one, "workspace", {"a": 1})
            await one.keep_content(Key("k"), ETag("e"), b"data")
            assert await known(two) == {"a"}
            assert await two.content(Key("k"), ETag("e")) == b"data"
            await one.publish([Change(Kind.PUT, "workspace/b", entry()), Change(Kind.TREE, "workspace/c")])
            await other.until(lambda heard: len(heard.changes) == 2)
            assert keys(first, "*")
            slot = {first.ask("CLUSTER", "KEYSLOT", key) for key in keys(first, "*")}
            assert len(slot) == 1
            first.ask("FLUSHALL")
            for node in (second, first):
                node.ask("CLUSTER", "SETSLOT", slot.copy().pop(), "NODE", nodes[1])
            for each in (heard, other):
                await each.until(lambda heard: ALL in heard.changes)
            await until(lambda: heard.states[-1] and other.states[-1])
            await listed(one, "workspace", {"c": 1})
            assert await known(two) == {"c"}
            await one.publish([Change(Kind.DROP, "workspace/c")])
            await other.until(lambda heard: heard.changes[-1] == Change(Kind.DROP, "workspace/c"))
            assert keys(second, "*")


async def test_a_replica_that_takes_over_is_believed_in_nothing() -> None:
    with ExitStack() as stack:
        primary, replica = [stack.enter_context(closing(RedisServer())) for _ in range(2)]
        replica.ask("REPLICAOF", "127.0.0.1", primary.port)
        await until(lambda: replica.ask("INFO", "replication").get("master_link_status") == "up")
        sentinel = stack.enter_context(closing(RedisSentinel(primary)))
        await until(lambda: int(sentinel.ask("INFO", "sentinel")["master0"]["slaves"]) == 1)
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
            await two.publish([Change(Kind.DROP, "workspace/x")])
            await heard.until(lambda heard: heard.changes[-1] == Change(Kind.DROP, "workspace/x"))
            assert replica.ask("INFO", "replication")["role"] == "master"
