"""What it costs to look at what another mount has seen already: requests to the store, and round trips to Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.behind_proxy import settle
from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.servers.server import Server
from tests.shared_mounts import connected, eventually, shared
from vfs.meta.redis.scripts import CONTENT, FILL, FOLDER, KEEP, NAME, PUBLISH

FILES = 1000


@dataclass
class Cost:
    """Requests to the store by kind, and round trips to Redis."""

    kinds: dict[str, int] = field(default_factory=dict)
    trips: int = 0


Costs = Callable[[Mount], AbstractContextManager[Cost]]


@pytest.fixture
def costs(proxy: Proxy) -> Costs:
    """`with costs(mount) as cost:` what the block cost, and what was done because of it afterwards."""

    @contextmanager
    def costs(mount: Mount) -> Iterator[Cost]:
        cost = Cost()
        before = shared(mount)["round_trips"]
        with proxy.counting() as counts:
            yield cost
            cost.trips = (
                shared(mount)["round_trips"] - before
            )  # filling in comes later, and nobody waits for it
            settle(proxy)
        cost.kinds = dict(counts.kinds)

    return costs


Start = Callable[..., Mount]


@pytest.fixture
def start(remote: MakeMount, redis_server: RedisServer) -> Start:
    """A mount that is connected to Redis; `like=other` is another mount of the same objects."""
    for script in (NAME, FOLDER, FILL, PUBLISH, CONTENT, KEEP):
        redis_server.ask(
            "SCRIPT", "LOAD", script.text
        )  # the first use in the life of a server takes two questions

    def start(like: Mount | None = None, **options: object) -> Mount:
        mount = remote(redis=redis_server.url, prefix=like.prefix if like else "", **options)
        connected(mount)
        return mount

    return start


def put_files(server: Server, mount: Mount, count: int, directory: str = "") -> None:
    """By another program."""

    def put(number: int) -> None:
        key = f"{mount.user_prefix}workspace/{directory}{'/' if directory else ''}{number:04}"
        server.client.put(key, b"x" * (number % 9), {"x-amz-meta-mode": "33152"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(count)))


def run(directory: Path, *argv: str) -> list[str]:
    done = subprocess.run(argv, cwd=directory, check=True, capture_output=True, text=True, timeout=300)
    return done.stdout.splitlines()


def test_ls_of_a_thousand_files(start: Start, costs: Costs, s3: Server, proxy: Proxy) -> None:
    """The first mount asks for everything, once; the second one asks Redis.

    One request more than it must is the index of the directory, which is not there yet (decisions/0011).
    """
    first = start()
    put_files(s3, first, FILES)
    with costs(first) as cost:
        out = run(first.workspace, "ls", "-l")
    assert len(out) == FILES + 1
    assert out[-1].startswith("-rw-------")
    assert cost.kinds == {"ListObjectsV2": 1, "HeadObject": FILES, "GetObject": 1}
    with costs(first) as cost:
        assert run(first.workspace, "ls", "-l") == out
    assert (cost.kinds, cost.trips) == ({}, 0)

    second = start(like=first)
    settle(proxy)
    with costs(second) as cost:
        assert run(second.workspace, "ls", "-l") == out
    assert "HeadObject" not in cost.kinds
    assert cost.kinds.get("ListObjectsV2", 0) <= 1
    assert cost.trips <= 3
    sys.stderr.write(f"cold mount, warm Redis: {cost}\n")
    with costs(second) as cost:
        assert run(second.workspace, "ls", "-l") == out
    assert (cost.kinds, cost.trips) == ({}, 0)


def test_a_name_that_is_missing_is_asked_for_once(start: Start, costs: Costs, proxy: Proxy) -> None:
    first = start()
    settle(proxy)
    with costs(first) as cost:
        assert not (first.workspace / "none").exists()
    assert cost.kinds == {"HeadObject": 1, "ListObjectsV2": 1}
    assert cost.trips <= 2
    with costs(first) as cost:
        assert not (first.workspace / "none").exists()
    assert (cost.kinds, cost.trips) == ({}, 0)


PROGRAM = """\
import os, sys
file = os.open(sys.argv[1], os.O_RDWR)
for number in range(100):
    os.pwrite(file, b"y" * 100, number * 1000)
    assert os.pread(file, 100, number * 1000) == b"y" * 100
    os.fstat(file)
os.close(file)
"""


def test_reads_and_writes_of_an_open_file(start: Start, costs: Costs, proxy: Proxy) -> None:
    """What is asked and told is all for its close; in a process of its own, as a fork here would be another one."""
    mount = start()
    path = mount.workspace / "file"
    path.write_bytes(b"x" * 100_000)
    settle(proxy)
    with costs(mount) as cost:
        run(mount.workspace, sys.executable, "-c", PROGRAM, str(path))
    assert (cost.kinds, cost.trips) == ({"PutObject": 1}, 1)


def test_a_small_file_is_read_without_the_store(start: Start, costs: Costs, proxy: Proxy) -> None:
    """One round trip for its attributes and content, or for the content alone where a listing told the attributes."""
    first = start()
    for number in range(3):
        (first.workspace / f"{number}").write_bytes(b"%d" % number * 50_000)
    settle(proxy)
    second = start(like=first)
    settle(proxy)
    with costs(second) as cost:
        assert (second.workspace / "0").read_bytes() == b"0" * 50_000
    assert (cost.kinds, cost.trips) == ({}, 1)
    with costs(second) as cost:
        run(second.workspace, "ls", "-l")
    assert "HeadObject" not in cost.kinds
    assert cost.trips <= 2
    with costs(second) as cost:
        assert (second.workspace / "1").read_bytes() == b"1" * 50_000
    assert (cost.kinds, cost.trips) == ({}, 1)
    with costs(second) as cost:
        assert (second.workspace / "1").read_bytes() == b"1" * 50_000
    assert cost.trips == 0


def test_a_symbolic_link_is_read_without_the_store(start: Start, costs: Costs, proxy: Proxy) -> None:
    first = start()
    (first.workspace / "link").symlink_to("somewhere else")
    settle(proxy)
    second = start(like=first)
    settle(proxy)
    with costs(second) as cost:
        assert os.readlink(second.workspace / "link") == "somewhere else"
    assert (cost.kinds, cost.trips) == ({}, 1)


def test_what_another_mount_writes_is_known_without_asking(start: Start, costs: Costs, proxy: Proxy) -> None:
    first, second = (one := start()), start(like=one)
    assert os.listdir(second.workspace) == []
    settle(proxy)
    with costs(second) as cost:
        (first.workspace / "file").write_bytes(b"content")
        eventually((second.workspace / "file").exists, "the file")
        assert os.listdir(second.workspace) == ["file"]
    assert cost.kinds == {"PutObject": 1}
    assert cost.trips == 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_find_over_ten_thousand_files(start: Start, costs: Costs, s3: Server, proxy: Proxy) -> None:
    """In 100 directories: the first mount asks for each, the second one asks Redis."""
    first = start()
    for directory in range(100):
        s3.client.put(f"{first.user_prefix}workspace/tree/{directory:02}/", b"", {"x-amz-meta-mode": "16877"})
        put_files(s3, first, 100, f"tree/{directory:02}")
    argv = ("find", "tree", "-printf", "%p %m %s\n")
    with costs(first) as cost:
        out = sorted(run(first.workspace, *argv))
    assert len(out) == 100 * 101 + 1
    assert cost.kinds["HeadObject"] >= 100 * 100
    settle(proxy)
    second = start(like=first)
    settle(proxy)
    with costs(second) as cost:
        assert sorted(run(second.workspace, *argv)) == out
    sys.stderr.write(f"find with warm Redis: {cost}\n")
    assert "HeadObject" not in cost.kinds
    assert cost.kinds.get("ListObjectsV2", 0) <= 101
    assert cost.trips <= 3 * 101
