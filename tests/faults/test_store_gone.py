"""The store is stopped for good: programs hear of it in bounded time, and the mount can be taken away."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.proxy import Proxy

MIB = 1 << 20
TIMEOUT = 2
BOUND = 3 * TIMEOUT + 5
"""Seconds in which a program must have its error: the time-out, an attempt that was under way, and a slow machine."""

NAMES = ["old", "other", "third"]

LOG = r"store is away|refused|cannot be reached|not be stored|not stored|upload failed|away|given up"


@pytest.fixture
def mount(remote: MakeMount) -> Mount:
    mount = remote(env=(("AGENTFS_STORE_TIMEOUT", f"{TIMEOUT}s"), ("AGENTFS_ATTEMPT_TIMEOUT", "1s")))
    mount.expect_log(LOG)
    return mount


@contextmanager
def failing(what: str) -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(OSError) as refused:
        yield
    taken = time.monotonic() - began
    assert refused.value.errno == errno.EIO, f"{what}: {refused.value}"
    assert taken < BOUND, f"{what} took {taken:.0f} s"


def write_until_refused(path: Path) -> None:
    """More than RAM holds."""
    with path.open("wb", buffering=0) as file:
        for _ in range(1024):
            file.write(b"x" * MIB)


def test_every_call_fails_in_time_and_the_mount_comes_back(mount: Mount, proxy: Proxy) -> None:
    directory = mount.workspace / "directory"
    directory.mkdir()
    for name in NAMES:
        (directory / name).write_bytes(os.urandom(2 * MIB))
    content = (directory / "old").read_bytes()
    (mount.workspace / "cold").write_bytes(b"cold" * MIB)
    mount.remount()
    assert sorted(os.listdir(directory)) == NAMES
    (mount.workspace / "cold").stat()
    proxy.stop()
    attempts: dict[str, Callable[[], object]] = {
        "read": (mount.workspace / "cold").read_bytes,
        "create": lambda: (directory / "new").write_bytes(b"new"),
        "rewrite": lambda: (directory / "old").write_bytes(b"new"),
        "mkdir": (directory / "sub").mkdir,
        "unlink": (directory / "other").unlink,
        "rename": lambda: (directory / "other").rename(directory / "moved"),
        "chmod": lambda: (directory / "third").chmod(0o600),
        "list": lambda: os.listdir(mount.memory),
    }

    def fails(name: str) -> None:
        with failing(name):
            attempts[name]()

    with ThreadPoolExecutor(len(attempts)) as pool:
        list(pool.map(fails, attempts))
    told = mount.agentfs("status", str(mount.root))
    assert told.returncode == 0, told.stderr
    assert "away for" in told.stdout
    assert "cannot be reached" in told.stdout
    proxy.resume()
    assert_back(directory)
    assert (directory / "old").read_bytes() == content
    assert sorted(os.listdir(directory)) == ["after", *NAMES]
    mount.remount()
    assert sorted(os.listdir(directory)) == ["after", *NAMES]


def assert_back(directory: Path) -> None:
    """It recovers by itself, as soon as somebody asks and the next probe is due."""
    deadline = time.monotonic() + 30
    while True:
        try:
            (directory / "after").write_bytes(b"after")
        except OSError:
            assert time.monotonic() < deadline, "the mount does not recover"
            time.sleep(0.2)
        else:
            return


def test_a_large_write_ends_and_the_mount_goes_away(mount: Mount, proxy: Proxy) -> None:
    (mount.workspace / "kept").write_bytes(b"kept")
    big = mount.workspace / "big"
    with failing("write"), big.open("wb", buffering=0) as file:
        file.write(b"x" * MIB)
        proxy.stop()
        for _ in range(1024):
            file.write(b"x" * MIB)
    began = time.monotonic()
    done = mount.agentfs("umount", str(mount.root))
    assert done.returncode == 0, f"every program was told, so nothing is left to store: {done.stderr}"
    assert time.monotonic() - began < 2 * BOUND
    assert not mount.mounted
    proxy.resume()
    mount.kill9()
    mount.start()
    assert (mount.workspace / "kept").read_bytes() == b"kept"
    assert sorted(os.listdir(mount.workspace)) == ["kept"]


def test_sigterm_ends_the_daemon_and_says_what_was_lost(mount: Mount, proxy: Proxy) -> None:
    (mount.workspace / "kept").write_bytes(b"kept")
    descriptor = os.open(mount.workspace / "lost", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"lost")
    proxy.stop()
    mount.terminate(wait=False)
    deadline = time.monotonic() + BOUND
    while mount.alive:
        assert time.monotonic() < deadline, "the daemon does not end"
        time.sleep(0.05)
    with pytest.raises(OSError):
        os.close(descriptor)
    assert not mount.mounted
    assert "not everything could be stored" in mount.log.read_text()
    proxy.resume()
    mount.kill9()
    mount.start()
    assert sorted(os.listdir(mount.workspace)) == ["kept"]
