"""A Redis Cluster of two nodes, and the steps in which a slot moves from one to the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from tests.servers.redis import RedisServer
from tests.servers.server import START_SECONDS, free_port

SLOTS = 16384
LONGEST_MOVE = 5000
"""Milliseconds for a key."""


def node(**options: str) -> RedisServer:
    """Of a Cluster; it has no slots yet."""
    return RedisServer(
        **options,
        cluster_enabled="yes",
        cluster_port=str(free_port()),
        cluster_require_full_coverage="no",
        cluster_node_timeout="2000",
    )


class RedisCluster:
    """Of the slots `second` has the first few, and `first` all others."""

    def __init__(self, slots_of_second: int = 0) -> None:
        with ExitStack() as stack:
            self.first = stack.enter_context(closing(node()))
            self.second = stack.enter_context(closing(node()))
            self.names = [each.ask("CLUSTER", "MYID") for each in (self.first, self.second)]
            self._assign(slots_of_second)
            self._stack = stack.pop_all()

    def slot(self, key: str) -> int:
        return int(self.first.ask("CLUSTER", "KEYSLOT", key))

    def begin_move(self, slot: int) -> None:
        """From now on the first node refers to the second for what it does not have any more."""
        self.second.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.names[0])
        self.first.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.names[1])

    def move(self, key: str) -> None:
        assert self.first.ask("MIGRATE", "127.0.0.1", self.second.port, key, 0, LONGEST_MOVE) == "OK"

    def end_move(self, slot: int) -> None:
        for each in (self.second, self.first):
            each.ask("CLUSTER", "SETSLOT", slot, "NODE", self.names[1])

    def replicate(self) -> None:
        """The second node becomes a replica of the first."""
        self.second.ask("CLUSTER", "REPLICATE", self.names[0])
        self._wait(lambda _: self.second.ask("INFO", "replication").get("master_link_status") == "up")

    def take_over(self) -> None:
        """The first node dies, and its replica does not wait for the votes of others: there are none."""
        self.first.stop()
        assert self.second.ask("CLUSTER", "FAILOVER", "TAKEOVER") == "OK"

    def close(self) -> None:
        self._stack.close()

    def _assign(self, slots_of_second: int) -> None:
        self.first.ask("CLUSTER", "ADDSLOTSRANGE", slots_of_second, SLOTS - 1)
        if slots_of_second:
            self.second.ask("CLUSTER", "ADDSLOTSRANGE", 0, slots_of_second - 1)
        self.second.ask("CLUSTER", "SET-CONFIG-EPOCH", 2)
        self.first.ask("CLUSTER", "MEET", "127.0.0.1", self.second.port, self.second.options["cluster_port"])
        self._wait(lambda each: len(each.ask("CLUSTER", "NODES").splitlines()) == 2)
        self._wait(lambda each: f"cluster_slots_ok:{SLOTS}" in each.ask("CLUSTER", "INFO"))
        self._wait(lambda each: "cluster_state:ok" in each.ask("CLUSTER", "INFO"))

    def _wait(self, agrees: Callable[[RedisServer], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (agrees(self.first) and agrees(self.second)):
            assert time.monotonic() < deadline, "the nodes do not agree"
            time.sleep(0.02)
