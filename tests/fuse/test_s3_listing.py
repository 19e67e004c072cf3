"""What it costs to look at a directory of which nothing is known: requests, and how many after one another."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.behind_proxy import settle
from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.proxy import Latency, Proxy
from tests.servers.server import Server

FILES = 300
LATENCY = 0.05


@pytest.fixture
def mount(remote: MakeMount, s3: Server, proxy: Proxy) -> Mount:
    """Somebody else's directory of files, and a link."""
    mount = remote(flags=("--revalidate", "ttl"))
    for number in range(FILES):
        s3.client.put(
            f"{mount.user_prefix}workspace/d/{number:04}", b"x" * number, {"x-amz-meta-mode": "33152"}
        )
    s3.client.put(f"{mount.user_prefix}workspace/d/link", b"0001", {"x-amz-meta-mode": "41471"})
    assert (mount.workspace / "d").is_dir()
    settle(proxy)
    return mount


def kinds(proxy: Proxy, mount: Mount, *argv: str) -> tuple[str, dict[str, int]]:
    with proxy.counting() as counts:
        done = subprocess.run(
            argv, cwd=mount.workspace, check=True, capture_output=True, text=True, timeout=60
        )
        settle(proxy)
    return done.stdout, dict(counts.kinds)


def test_names_alone_take_one_listing(mount: Mount, proxy: Proxy) -> None:
    out, asked = kinds(proxy, mount, "ls", "-f", "d")
    assert len(out.split()) == FILES + 1 + 2
    assert asked == {"ListObjectsV2": 1, "GetObject": 1}, "the second for an index, which is not there"
    with os.scandir(mount.workspace / "d") as entries:
        types = {entry.name: entry.is_symlink() for entry in entries}
    assert [name for name, link in types.items() if link] == ["link"]


def test_attributes_are_asked_for_once_each_and_many_at_once(mount: Mount, proxy: Proxy) -> None:
    proxy.add(Latency(LATENCY))
    began = time.monotonic()
    out, asked = kinds(proxy, mount, "ls", "-l", "d")
    taken = time.monotonic() - began
    proxy.clear()
    assert len(out.splitlines()) == FILES + 2
    assert out.splitlines()[3].split()[:5][0] == "-rw-------"
    assert "link -> 0001" in out
    assert asked.pop("GetObject") == 2, "an index, which is not there, and the text of the link"
    assert asked == {"ListObjectsV2": 1, "HeadObject": FILES + 1}
    assert taken < (FILES + 1) * LATENCY / 2, "they were asked for one after the other"
    again, asked = kinds(proxy, mount, "ls", "-l", "d")
    assert again == out
    assert asked == {}


def test_one_file_of_many_does_not_have_all_asked_for(mount: Mount, proxy: Proxy) -> None:
    kinds(proxy, mount, "ls", "-f", "d")
    _, asked = kinds(proxy, mount, "stat", "d/0007")
    assert asked == {"HeadObject": 1}
    _, asked = kinds(proxy, mount, "stat", "d/0009")
    assert asked["HeadObject"] < 30


def test_find_by_type(mount: Mount, proxy: Proxy) -> None:
    """The listing does not tell what is a link; so nobody is told wrong."""
    out, _ = kinds(proxy, mount, "find", "d", "-type", "l")
    assert out.split() == ["d/link"]
    out, _ = kinds(proxy, mount, "find", "d", "-type", "f", "-size", "-10c")
    assert len(out.split()) == 10
