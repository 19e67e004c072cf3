"""What the tests with real programs share: a disk to work on, and how to run a program on it.

`AGENTFS_TEST_PLAIN=/some/dir pytest tests/fuse -k programs` runs the same tests on an ordinary directory, which
proves that what they demand is what a disk does.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behind_proxy import proxy, remote
from tests.conftest import MakeMount
from tests.mountinfo import remove_tree
from tests.mounting import Mount
from tests.servers.server import Server

__all__ = ["proxy", "remote"]

HERE = Path(__file__).parent
TEST_SECONDS = 120
PLAIN = os.environ.get("AGENTFS_TEST_PLAIN", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.fuse)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_SECONDS))


class Disk:
    """A directory on the file system under test, an ordinary one beside it, and programs that run there."""

    def __init__(self, path: Path, outside: Path, mount: Mount | None) -> None:
        self.path = path
        self.outside = outside
        self._mount = mount

    def run(self, *argv: str | Path, cwd: Path | None = None, **env: str) -> str:
        """Standard output of a program that must succeed. Its home and its caches are not on the mount."""
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=cwd or self.path,
            env=self._environment() | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TEST_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def remount(self) -> None:
        """Forgets everything that is not in the store."""
        if self._mount:
            self._mount.remount()

    def _environment(self) -> dict[str, str]:
        ours = ("GIT_", "PIP_", "npm_", "UV_", "VIRTUAL_ENV", "PYTHON", "MAKE", "MFLAGS", "AGENTFS_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return clean | {"HOME": str(self.outside), "LC_ALL": "C.UTF-8", "PIP_NO_INDEX": "1"}


STORES = ("native", "s3")
"""The embedded store, and a real S3 server. `like-s3` is the first with only what S3 can do, for a few tests."""


long_on_s3 = pytest.mark.parametrize(
    "disk", ["native", pytest.param("s3", marks=pytest.mark.long)], indirect=True
)
"""For programs that ask an S3 server for nothing that others do not."""


def make_mount(mounts: MakeMount, request: pytest.FixtureRequest, kind: str, **options: object) -> Mount:
    """A mount on one of STORES. The server is only started when it is wanted."""
    if kind == "s3":
        server: Server = request.getfixturevalue("s3")
        return mounts(server=server, **options)
    return mounts(native=kind == "native", **options)


def _make_disk(mounts: MakeMount, request: pytest.FixtureRequest, scratch: Path, kind: str) -> Disk:
    outside = Path(tempfile.mkdtemp(prefix="outside-", dir=scratch))
    if PLAIN:
        return Disk(Path(tempfile.mkdtemp(dir=PLAIN)), outside, None)
    mount = make_mount(mounts, request, kind)
    return Disk(mount.workspace, outside, mount)


@pytest.fixture
def scratch(mount_root: Path) -> Iterator[Path]:
    """An ordinary directory, gone after the test."""
    path = Path(tempfile.mkdtemp(dir=mount_root))
    yield path
    remove_tree(path)


@pytest.fixture
def native_disk(request: pytest.FixtureRequest, mounts: MakeMount, scratch: Path) -> Disk:
    """The embedded store as people use it."""
    return _make_disk(mounts, request, scratch, "native")


@pytest.fixture(params=STORES)
def disk(request: pytest.FixtureRequest, mounts: MakeMount, scratch: Path) -> Disk:
    """The embedded store as people use it, and an S3 server."""
    return _make_disk(mounts, request, scratch, request.param)
