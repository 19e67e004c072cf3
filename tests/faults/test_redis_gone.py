"""Mounts whose Redis fails: their programs see right data and no errors, at most later, and it heals by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.servers.redis import RedisServer
from tests.servers.relay import Relay
from tests.shared_mounts import connected, content, eventually, shared

WITHOUT = 12.0
"""Seconds until another mount's change is seen though nobody tells of it: time to notice, and a negative entry's."""

LONGEST_CALL = 8.0
"""Seconds for any system call, on a busy machine."""

FROZEN = 10.0

Pair = tuple[Mount, Mount]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@contextmanager
def own_server(**options: str) -> Iterator[RedisServer]:
    server = RedisServer(**options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def pair_on(mounts: MakeMount) -> Callable[[str], Pair]:
    """Two mounts of the same objects that share the Redis at a URL."""

    def pair(url: str) -> Pair:
        env = (("AGENTFS_REDIS_URL", url),)  # a password is not taken from the command line
        one = mounts(native=False, env=env)
        two = mounts(native=False, store=one.store_dir, env=env)
        for mount in (one, two):
            mount.expect_log("redis is (away|slow)")
        return one, two

    return pair


def exchange(pair: Pair, tag: str, seconds: float = WITHOUT) -> None:
    """What either closes, removes, or makes, the other one comes to see that opens it or reads the directory."""
    for one, two in (pair, pair[::-1]):
        data = f"{tag} of {one.base.name}".encode() * 100
        there, here = two.workspace, one.workspace
        name = f"{tag}-{one.base.name}"
        folder = f"{name}-d"
        begun = time.monotonic()
        assert content(there / "none") is None
        (here / "file").write_bytes(data)
        (here / name).write_bytes(data)
        (here / folder).mkdir()
        assert time.monotonic() - begun < LONGEST_CALL
        eventually(
            lambda there=there, data=data: content(there / "file") == data, f"{tag}: the new file", seconds
        )
        eventually(lambda there=there, name=name: name in os.listdir(there), f"{tag}: a file more", seconds)
        assert (there / name).read_bytes() == data
        eventually(lambda there=there, name=folder: name in os.listdir(there), f"{tag}: directory", seconds)
        (here / folder).rmdir()
        eventually(lambda there=there, name=folder: name not in os.listdir(there), f"{tag}: removal", seconds)


def events(mount: Mount, *words: str) -> list[str]:
    """Lines of the log that tell of Redis."""
    return [line for line in mount.log.read_text().splitlines() if any(word in line for word in words)]


def assert_told_once(*mounts: Mount) -> None:
    """One line when it went, one when it came back; each mount tells for itself."""
    for mount in mounts:
        assert len(events(mount, "redis is away", "redis is slow", "are not heard")) == 1, mount.tail()
        assert len(events(mount, "redis is back")) == 1, mount.tail()


def healed(pair: Pair) -> None:
    """Both are told at once again, and agree."""
    connected(*pair)
    exchange(pair, "after", seconds=5.0)
    one, two = (mount.workspace for mount in pair)
    assert sorted(os.listdir(one)) == sorted(os.listdir(two))
    for name in os.listdir(one):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@semantics("S18.13")
def test_everything_is_flushed(server: RedisServer, pair_on: Callable[[str], Pair]) -> None:
    pair = pair_on(server.url)
    connected(*pair)
    exchange(pair, "before")
    for number in range(3):
        server.ask("FLUSHALL")
        exchange(pair, f"flushed{number}")
    healed(pair)
    assert not events(pair[0], "redis is away")


@semantics("S18.13")
def test_it_is_killed_and_comes_back_empty(server: RedisServer, pair_on: Callable[[str], Pair]) -> None:
    pair = pair_on(server.url)
    connected(*pair)
    exchange(pair, "before")
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)
    server.stop()
    exchange(pair, "without")
    connected(*pair, state="away")
    told = pair[0].agentfs("status", str(pair[0].root))
    assert "redis_state" in told.stdout
    assert "away for" in told.stdout
    assert "refused" in told.stdout
    server.start()
    healed(pair)
    assert_told_once(*pair)


@semantics("S18.13")
def test_it_is_frozen(server: RedisServer, pair_on: Callable[[str], Pair]) -> None:
    """Its connections stay, and nothing answers."""
    pair = pair_on(server.url)
    connected(*pair)
    exchange(pair, "before")
    server.pause()
    try:
        begun = time.monotonic()
        exchange(pair, "frozen")
        connected(*pair, state="away")
        time.sleep(max(0.0, FROZEN - (time.monotonic() - begun)))
    finally:
        server.resume()
    healed(pair)
    assert_told_once(*pair)


@semantics("S18.13")
def test_the_password_is_wrong(pair_on: Callable[[str], Pair]) -> None:
    with own_server(requirepass="right-secret") as server:
        pair = pair_on(f"redis://:wrong-secret@127.0.0.1:{server.port}/0")
        connected(*pair, state="away")
        exchange(pair, "without")
        told = pair[0].agentfs("status", "--json", str(pair[0].root)).stdout
        assert "AuthenticationError" in shared(pair[0])["cause"]
        server.ask("CONFIG", "SET", "requirepass", "wrong-secret")
        healed(pair)
        assert_told_once(*pair)
        for mount in pair:
            assert "secret" not in told + mount.log.read_text() + mount.output.read_text()


def test_a_mount_comes_up_without_it(server: RedisServer, mounts: MakeMount) -> None:
    server.stop()
    mount = mounts(redis=server.url, native=False, started=False)
    mount.expect_log("redis is away")
    begun = time.monotonic()
    mount.start()
    assert time.monotonic() - begun < LONGEST_CALL
    (mount.workspace / "file").write_bytes(b"content")
    assert (mount.workspace / "file").read_bytes() == b"content"
    server.start()
    connected(mount)
    assert_told_once(mount)
    assert (mount.workspace / "file").read_bytes() == b"content"


@semantics("S18.13")
def test_its_memory_is_full_and_it_refuses(pair_on: Callable[[str], Pair]) -> None:
    with own_server(maxmemory_policy="noeviction") as server:
        pair = pair_on(server.url)
        connected(*pair)
        exchange(pair, "before")
        server.ask("CONFIG", "SET", "maxmemory", "1kb")
        exchange(pair, "full")
        server.ask("CONFIG", "SET", "maxmemory", "0")
        healed(pair)
        assert_told_once(*pair)


def test_its_memory_is_full_and_it_evicts(pair_on: Callable[[str], Pair]) -> None:
    with own_server(maxmemory="3mb", maxmemory_policy="allkeys-lru") as server:
        pair = pair_on(server.url)
        connected(*pair)
        for number in range(120):
            (pair[number % 2].workspace / f"f{number}").write_bytes(os.urandom(30_000))
        eventually(lambda: int(server.ask("INFO", "stats")["evicted_keys"]) > 0, "an eviction")
        exchange(pair, "evicting")
        healed(pair)


@semantics("S18.13")
def test_it_is_slow(server: RedisServer, pair_on: Callable[[str], Pair]) -> None:
    with Relay(server.port) as relay:
        pair = pair_on(f"redis://127.0.0.1:{relay.port}/0")
        connected(*pair)
        exchange(pair, "before")
        one, two = pair
        relay.delay = 0.2
        for number in range(8):  # as many questions for contents
            (one.workspace / f"slow{number}").write_bytes(b"content")
            eventually((two.workspace / f"slow{number}").exists, "the file")
            assert (two.workspace / f"slow{number}").read_bytes() == b"content"
        assert len(events(two, "redis is slow")) == 1
        assert shared(two)["state"] == "connected", "it tells, and is not asked"
        exchange(pair, "slow")
        relay.delay = 0.0
        healed(pair)
        eventually(lambda: content(two.workspace / "none") is None and bool(events(two, "is back")), "back")
        assert_told_once(two)
        assert not events(one, "redis is away")
