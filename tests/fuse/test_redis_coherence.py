"""What one mount does is seen on another one of the same machine, and how soon."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.servers.redis import RedisServer
from tests.servers.server import Server
from tests.shared_mounts import connected, content, eventually

ROUNDS = 29
"""Of seven events each."""

Pair = tuple[Path, Path]


@pytest.fixture
def pair(mounts: MakeMount, s3: Server, redis_server: RedisServer) -> Pair:
    """The workspaces of two mounts that share a store and a Redis."""
    one = mounts(server=s3, redis=redis_server.url)
    two = mounts(server=s3, redis=redis_server.url, prefix=one.prefix)
    connected(one, two)
    return one.workspace, two.workspace


class Steps:
    """Each changes something on `one`, and says what then has to be seen on `two`."""

    def __init__(self, one: Path, two: Path, number: int) -> None:
        self.file, self.seen = one / f"f{number}", two / f"f{number}"
        self.moved, self.seen_moved = one / f"g{number}", two / f"g{number}"
        self.folder, self.seen_folder = one / f"d{number}", two / f"d{number}"

    def create(self) -> Callable[[], bool]:
        self.file.write_bytes(b"first")
        return lambda: content(self.seen) == b"first"

    def overwrite(self) -> Callable[[], bool]:
        self.file.write_bytes(b"second one")
        return lambda: content(self.seen) == b"second one"

    def append(self) -> Callable[[], bool]:
        with self.file.open("ab") as file:
            file.write(b", and more")
        return lambda: self.seen.stat().st_size == 20

    def chmod(self) -> Callable[[], bool]:
        self.file.chmod(0o640)
        return lambda: self.seen.stat().st_mode & 0o777 == 0o640

    def rename(self) -> Callable[[], bool]:
        self.file.rename(self.moved)
        return lambda: self.seen_moved.exists() and not self.seen.exists()

    def delete(self) -> Callable[[], bool]:
        self.moved.unlink()
        return lambda: not self.seen_moved.exists()

    def mkdir(self) -> Callable[[], bool]:
        self.folder.mkdir()
        return self.seen_folder.is_dir


ORDER = (Steps.create, Steps.overwrite, Steps.append, Steps.chmod, Steps.rename, Steps.delete, Steps.mkdir)


@semantics("S18.11")
def test_how_soon_it_is_seen(pair: Pair) -> None:
    """From the return of the call until another mount shows it, which is asked all the time and may well remember."""
    taken: dict[str, list[float]] = {step.__name__: [] for step in ORDER}
    for number in range(ROUNDS):
        steps = Steps(*pair, number)
        for step in ORDER:
            assert not steps.seen_folder.exists()
            assert content(steps.seen) is None or step is not Steps.create
            taken[step.__name__].append(eventually(step(steps), f"{step.__name__} {number}"))
    every = sorted(seconds for part in taken.values() for seconds in part)
    for name, part in taken.items():
        half, most = sorted(part)[len(part) // 2], max(part)
        sys.stderr.write(f"{name}: median {1000 * half:.1f} ms, longest {1000 * most:.1f} ms\n")
    median, late = every[len(every) // 2], every[len(every) * 99 // 100]
    sys.stderr.write(f"{len(every)} events: median {1000 * median:.1f}, 99 % in {1000 * late:.1f} ms\n")
    assert median < 0.1
    assert late < 0.5  # 0.1 on a machine that does nothing else


@semantics("S18.11")
def test_listings_follow(pair: Pair) -> None:
    one, two = pair
    assert os.listdir(two) == []
    (one / "d").mkdir()
    (one / "d" / "f").write_bytes(b"")
    eventually(lambda: os.listdir(two) == ["d"], "the directory")
    eventually(lambda: os.listdir(two / "d") == ["f"], "its file")
    (one / "d").rename(one / "e")
    eventually(lambda: os.listdir(two) == ["e"], "its new name")
    assert os.listdir(two / "e") == ["f"]
    assert not (two / "d" / "f").exists()
    (one / "e" / "f").unlink()
    eventually(lambda: os.listdir(two / "e") == [], "the removal")
    (one / "e").rmdir()
    eventually(lambda: os.listdir(two) == [], "the removal of the directory")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@semantics("S18.12")
def test_a_program_that_has_the_file_open_keeps_its_version(pair: Pair) -> None:
    one, two = pair
    (one / "file").write_bytes(b"first")
    eventually(lambda: content(two / "file") == b"first", "the file")
    with opened(two / "file") as descriptor:
        assert os.pread(descriptor, 100, 0) == b"first"
        (one / "file").write_bytes(b"second, longer")
        time.sleep(0.3)
        assert os.pread(descriptor, 100, 0) == b"first"
        assert os.fstat(descriptor).st_size == 5
    assert content(two / "file") == b"second, longer"
    with opened(two / "file") as descriptor:
        assert os.pread(descriptor, 100, 0) == b"second, longer"
        (one / "file").unlink()
        eventually(lambda: not (two / "file").exists(), "the removal")
        assert os.listdir(two) == []
        assert os.pread(descriptor, 100, 0) == b"second, longer"
    eventually(lambda: os.listdir(two) == [], "the removal")
    assert not (two / "file").exists()


def test_what_is_mapped_is_not_a_mixture(pair: Pair) -> None:
    """Pages that the kernel kept of the old version are not shown with those of the new one."""
    one, two = pair
    for number in range(10):
        data = bytes([65 + number]) * (300_000 - number * 1000)
        (one / "file").write_bytes(data)
        eventually(lambda data=data: content(two / "file") == data, f"version {number}")


def test_both_directions_at_once(pair: Pair) -> None:
    """Each creates what the other one removes."""
    for number in range(20):
        one, two = pair if number % 2 else pair[::-1]
        (one / "ball").write_bytes(b"%d" % number)
        eventually(lambda two=two, number=number: content(two / "ball") == b"%d" % number, f"{number}")
        (two / "ball").unlink()
        eventually(lambda one=one: not (one / "ball").exists(), f"removal {number}")


def test_a_mount_that_comes_later(mounts: MakeMount, s3: Server, redis_server: RedisServer) -> None:
    """It believes what the first one told, and the first one hears of it."""
    first = mounts(server=s3, redis=redis_server.url)
    connected(first)
    (first.workspace / "file").write_bytes(b"first")
    second: Mount = mounts(server=s3, redis=redis_server.url, prefix=first.prefix)
    assert (second.workspace / "file").read_bytes() == b"first"
    connected(second)
    (second.workspace / "file").write_bytes(b"second")
    eventually(lambda: content(first.workspace / "file") == b"second", "the change")
    second.remount()
    assert content(second.workspace / "file") == b"second"
