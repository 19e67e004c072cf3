"""Fixtures that give a test a real mount.

The tests in `tests/fuse`, `tests/model` and `tests/semantics` need the kernel: /dev/fuse and fusermount3.
Where those are missing the tests fail; a file system that was not mounted was not tested.

Programs that they run, by their Debian packages: bash coreutils findutils fuse3 gcc git libc6-dev make npm
openssl python3-venv redis-server rsync s3fs sqlite3 tar unzip zip.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mountinfo import detach, mounts_below, remove_tree
from tests.mounting import PROJECT, WATCHDOG_SECONDS, Mount, Options
from tests.servers.given import given
from tests.servers.ministack import MiniStack
from tests.servers.redis import RedisServer
from tests.servers.rgw import Rgw
from tests.servers.server import Server
from tests.servers.swift import Swift

WATCHDOG_MARGIN = 10.0
"""Seconds by which the watchdog is ahead of pytest's own timeout: the mount ends, not the run."""

MakeMount = Callable[..., Mount]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make check` runs what needs neither root nor seconds of waiting, or that show little more than a quicker test.

    Those are marked: root, swift, slow. `make test` runs them too.
    """
    quick = {PROJECT / "tests" / "unit", PROJECT / "tests" / "contract"}
    for item in items:
        slow = any(item.get_closest_marker(name) for name in ("root", "swift", "slow"))
        if item.path.parent in quick and not slow:
            item.add_marker(pytest.mark.quick)


def pytest_collection_finish() -> None:
    """What is there now stays: for the collector to go through it again and again was a tenth of all work."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def mount_root() -> Iterator[Path]:
    """One scratch directory for the run (each xdist worker has its own); checked for leftovers at the end.

    Not pytest's tmp_path: unix socket paths end at 107 bytes, and pytest deletes old directories unasked.
    """
    assert Path("/dev/fuse").exists(), "no /dev/fuse: load the fuse module, or give the container that device"
    assert shutil.which("fusermount3"), "no fusermount3: install the package fuse3"
    root = Path(tempfile.mkdtemp(prefix="agentfs-")).resolve()
    yield root
    leftovers = [entry.point for entry in mounts_below(root)]
    for point in leftovers:
        detach(point)
    remove_tree(root)
    assert not leftovers, f"tests left mounts behind: {leftovers}"


@pytest.fixture
def mounts(mount_root: Path, request: pytest.FixtureRequest) -> Iterator[MakeMount]:
    """Makes started mounts: `mounts(ram_limit="64M", native=False)`; `started=False` leaves that to the test.

    `store=other.store_dir` mounts what another mount of the test has stored; on an S3 server, which
    `server=s3` asks for, `prefix=other.prefix` does.
    """
    made: list[Mount] = []
    limit = request.node.get_closest_marker("timeout")
    seconds = limit.args[0] - WATCHDOG_MARGIN if limit else WATCHDOG_SECONDS
    base = Path(tempfile.mkdtemp(dir=mount_root))

    def make(*, started: bool = True, store: Path | None = None, **options: object) -> Mount:
        chosen = Options(**{"seconds": seconds, **options})  # type: ignore[arg-type]
        made.append(Mount(base / str(len(made)), chosen, store))
        if started:
            made[-1].start()
        return made[-1]

    yield make
    failures = []
    for mount in reversed(made):
        try:
            mount.close()
        except AssertionError as error:
            failures.append(str(error))
    for mount in made:
        with contextlib.suppress(ConnectionError):  # a test may have stopped the server for good
            mount.clear_store()
    remove_tree(base)
    assert not failures, "\n".join(failures)


@pytest.fixture
def mount(mounts: MakeMount) -> Mount:
    """A mount with default options."""
    return mounts()


@pytest.fixture(scope="session")
def ministack() -> Iterator[MiniStack]:
    """An S3 server that is quick to start; each xdist worker has its own. Tests keep to prefixes of their own."""
    server = MiniStack()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def swift() -> Iterator[Swift]:
    """The stricter S3 server, slower and larger than MiniStack: a second to start, 230 MB."""
    server = Swift()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for the tests that only use it; those that break it start their own."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def rgw() -> Iterator[Rgw]:
    """Ceph's S3 server, for `make test-rgw`: 15 s to start."""
    server = Rgw()
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3(request: pytest.FixtureRequest) -> Server:
    """What tests take that want some S3: MiniStack, unless AGENTFS_TEST_S3 names another."""
    if os.environ.get("AGENTFS_TEST_S3") == "rgw":
        ceph: Rgw = request.getfixturevalue("rgw")
        return ceph.server
    return given() or request.getfixturevalue("ministack").server


@pytest.fixture(params=["s3", "swift"])
def any_s3(request: pytest.FixtureRequest) -> Server:
    """Once on each kind of S3: one with conditional writes, and a stricter one without."""
    found = request.getfixturevalue(request.param)
    return found.server if isinstance(found, Swift) else found
