"""Mounts whose Redis fails: their programs see right data and no errors, at most later, and it heals by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.servers.certificates import Authority
from tests.servers.redis import RedisServer, tls_options, with_replica
from tests.servers.relay import Relay
from tests.shared_mounts import connected, content, eventually, shared

WITHOUT = 12.0
"""Seconds until another mount's change is seen though nobody tells of it: time to notice, and a negative entry's."""

LONGEST_CALL = 8.0
"""Seconds for any system call, on a busy machine."""

FROZEN = 30.0
PULSE = 4.0
"""Seconds of a longer outage between two looks at whether programs go on."""

EVICTING = [
    f"{keys}-{which}"
    for keys, choices in {
        "allkeys": ("lru", "lfu", "random"),
        "volatile": ("lru", "lfu", "random", "ttl"),
    }.items()
    for which in choices
]

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


def at_work(pair: Pair, tag: str) -> None:
    """Programs go on, and every call ends."""
    for number, mount in enumerate(pair):
        path, begun = mount.workspace / f"{tag}-{number}", time.monotonic()
        assert content(path) is None
        path.write_bytes(tag.encode())
        path.rename(path.with_suffix(".done"))
        assert content(path) is None
        assert path.with_suffix(".done").read_bytes() == tag.encode()
        assert time.monotonic() - begun < LONGEST_CALL


def events(mount: Mount, *words: str) -> list[str]:
    """Lines of the log that tell of Redis."""
    return [line for line in mount.log.read_text().splitlines() if any(word in line for word in words)]


def assert_told_once(*mounts: Mount) -> None:
    """One line when it went, one when it has come back to stay; each mount tells for itself."""
    for mount in mounts:
        eventually(lambda: bool(events(mount, "redis is back")), "the end of it")  # noqa: B023
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
        number = 0
        while (left := FROZEN - (time.monotonic() - begun)) > 0:
            at_work(pair, f"frozen{number}")
            time.sleep(min(PULSE, left))
            number += 1
        for mount in pair:
            assert "TimeoutError" in shared(mount)["cause"]
            assert len(events(mount, "redis is away")) == 1
    finally:
        server.resume()
    healed(pair)
    assert_told_once(*pair)


@semantics("S18.13")
def test_it_comes_back_with_what_it_held_a_while_ago(
    server: RedisServer, pair_on: Callable[[str], Pair]
) -> None:
    """As one that saves now and then: what it was told since is lost, and what it holds is old."""
    pair = pair_on(server.url)
    connected(*pair)
    exchange(pair, "before")
    server.ask("SAVE")
    exchange(pair, "later")
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)
    server.restart()
    assert server.ask("DBSIZE") > 0
    healed(pair)


@semantics("S18.13")
def test_another_server_takes_over(pair_on: Callable[[str], Pair]) -> None:
    with ExitStack() as stack:
        primary, replica, sentinel = with_replica(stack)
        pair = pair_on(sentinel.url)
        connected(*pair)
        exchange(pair, "before")
        assert primary.process is not None
        os.kill(primary.process.pid, signal.SIGKILL)
        exchange(pair, "meanwhile")
        healed(pair)
        assert replica.ask("INFO", "replication")["role"] == "master"
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
def test_the_certificate_is_not_trusted(pair_on: Callable[[str], Pair], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    believed = tmp_path / "believed.pem"
    (tmp_path / "other").mkdir()
    believed.write_bytes(Authority(tmp_path / "other").certificate.read_bytes())
    options = tls_options(authority, authority.issued("redis"))
    with own_server(**options, requirepass="right-secret") as server:
        pair = pair_on(f"rediss://:right-secret@127.0.0.1:{server.tls_port}/0?ssl_ca_certs={believed}")
        connected(*pair, state="away")
        exchange(pair, "without")
        assert "CERTIFICATE_VERIFY_FAILED" in shared(pair[0])["cause"]
        believed.write_bytes(authority.certificate.read_bytes())
        healed(pair)
        assert_told_once(*pair)
        for mount in pair:
            assert "secret" not in mount.log.read_text() + mount.output.read_text()


@semantics("S18.13")
def test_its_memory_is_full_and_it_refuses(pair_on: Callable[[str], Pair]) -> None:
    with own_server(maxmemory_policy="noeviction") as server:
        pair = pair_on(server.url)
        connected(*pair)
        exchange(pair, "before")
        server.ask("CONFIG", "SET", "maxmemory", "1kb")
        exchange(pair, "full")
        connected(*pair, state="away")
        assert "OutOfMemoryError" in shared(pair[0])["cause"]
        server.ask("CONFIG", "SET", "maxmemory", "0")
        healed(pair)
        assert_told_once(*pair)


@semantics("S18.13")
def test_its_memory_is_full_of_what_it_was_given_and_it_refuses(pair_on: Callable[[str], Pair]) -> None:
    """At the brink it refuses what is large and takes what is small, so it may be there and away again."""
    with own_server(maxmemory="3mb", maxmemory_policy="noeviction") as server:
        pair = pair_on(server.url)
        connected(*pair)
        fill(pair, 120)
        assert server.ask("INFO", "errorstats")["errorstat_OOM"]["count"] > 0
        exchange(pair, "full")
        server.ask("CONFIG", "SET", "maxmemory", "0")
        healed(pair)
        assert_told_once(*pair)


@semantics("S18.13")
def test_its_memory_is_full_and_it_evicts(pair_on: Callable[[str], Pair]) -> None:
    with own_server(maxmemory="3mb") as server:
        pair = pair_on(server.url)
        connected(*pair)
        for policy in EVICTING:
            server.ask("CONFIG", "SET", "maxmemory-policy", policy)
            server.ask("CONFIG", "RESETSTAT")
            fill(pair, 60)
            eventually(lambda: int(server.ask("INFO", "stats")["evicted_keys"]) > 0, f"{policy}: an eviction")
            exchange(pair, policy)
        healed(pair)
        assert not events(pair[0], "redis is")


def fill(pair: Pair, files: int) -> None:
    """With contents that Redis keeps."""
    for number in range(files):
        (pair[number % 2].workspace / f"f{number}").write_bytes(os.urandom(30_000))


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
        assert_told_once(two)
        assert not events(one, "redis is away")
