"""One mount for all the tests of a chapter: each works in a directory of its own.

A chapter that sets `BOTH_STORES = True` runs twice: with all that the file:// store can do, and with only what
S3 can do. Tests that need options of their own, or a mount that nobody else uses, take `mounts`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mountinfo import detach
from tests.mounting import Mount, Options
from tests.semantics.program import Stored

HERE = Path(__file__).parent
TEST_SECONDS = 120
CHAPTER_SECONDS = 900

Open = Callable[..., int]


class ChapterMount(Mount):
    """Unmounts by SIGTERM: as clean as `agentfs umount`, and it starts no further interpreter."""

    def unmount(self) -> None:
        self.terminate()


_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.path.name != "test_document.py":
            item.add_marker(pytest.mark.fuse)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_SECONDS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shared" in metafunc.fixturenames and getattr(metafunc.module, "BOTH_STORES", False):
        metafunc.parametrize(
            "shared", [True, False], ids=["native", "like-s3"], indirect=True, scope="module"
        )


@pytest.fixture(scope="module")
def shared(mount_root: Path, request: pytest.FixtureRequest) -> Iterator[Mount]:
    native = getattr(request, "param", True)
    options = Options(native=native, seconds=CHAPTER_SECONDS)
    made = ChapterMount(Path(tempfile.mkdtemp(dir=mount_root)), options)
    made.start()
    yield made
    made.close()


@pytest.fixture
def disk(shared: Mount) -> Mount:
    """The chapter's mount; started anew when a test before this one has ended it."""
    if not shared.alive:
        shared.crash_and_restart()
    return shared


@pytest.fixture
def work(disk: Mount) -> Path:
    """An empty directory on the mount."""
    path = disk.workspace / f"test-{next(_numbers)}"
    path.mkdir()
    return path


@pytest.fixture
def stored(disk: Mount) -> Stored:
    return Stored(disk)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def opened() -> Iterator[Open]:
    """os.open whose descriptors do not outlive the test: a mount in use cannot be unmounted."""
    descriptors: dict[int, int] = {}

    def open_(path: Path | str | bytes, flags: int, mode: int = 0o666) -> int:
        descriptor = os.open(path, flags, mode)
        descriptors[descriptor] = os.fstat(descriptor).st_dev
        return descriptor

    yield open_
    for descriptor, device in descriptors.items():
        if _still_open(descriptor, device):
            with contextlib.suppress(OSError):  # a file that failed, or whose daemon was killed
                os.close(descriptor)


def _still_open(descriptor: int, device: int) -> bool:
    """False if the test has closed it, although its number may be in use again."""
    try:
        return os.fstat(descriptor).st_dev == device
    except OSError as error:
        return error.errno != errno.EBADF


@pytest.fixture
def small_store(mount_root: Path) -> Iterator[Path]:
    """A directory for a store that has room for 8 MiB and no more."""
    path = Path(tempfile.mkdtemp(dir=mount_root))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], check=True)
    yield path
    detach(path)
