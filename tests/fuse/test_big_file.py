"""Files far larger than the RAM limit, and the one number that must hold whatever the load: the daemon's peak RSS.

Contents are a block of random bytes with the block's number in front, so that checking is one comparison of memory
a block and a block in the wrong place cannot pass.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount

MIB = 1 << 20
GIB = 1 << 30

LIMIT_MIB = 64
OVERHEAD_MIB = 120
"""What the interpreter, its libraries and buffers outside the budget may take: DESIGN's promise for RSS."""

BLOCK = random.Random(7).randbytes(MIB)


def block(number: int) -> bytes:
    return struct.pack("<Q", number) + BLOCK[8:]


def write_blocks(path: Path, count: int, first: int = 0) -> None:
    with path.open("wb", buffering=0) as file:
        for number in range(first, first + count):
            assert file.write(block(number)) == MIB


def check_blocks(path: Path, count: int, first: int = 0) -> None:
    buffer = bytearray(MIB)
    with path.open("rb", buffering=0) as file:
        for number in range(first, first + count):
            got = 0
            while got < MIB and (more := file.readinto(memoryview(buffer)[got:])):
                got += more
            assert got == MIB, f"{path.name} ends in block {number}"
            assert buffer == block(number), f"{path.name}: block {number} is wrong"
        assert file.read(1) == b""


@contextmanager
def timed(what: str, size: int) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    sys.stderr.write(f"{what}: {seconds:.1f} s, {size / MIB / seconds:.0f} MiB/s\n")


@pytest.fixture(params=["like-s3"])
def small(request: pytest.FixtureRequest, mounts: MakeMount) -> Iterator[Mount]:
    """A mount with a small RAM limit, and afterwards the proof that it kept it."""
    mount = mounts(ram_limit=f"{LIMIT_MIB}M", native=request.param == "native")
    yield mount
    peak = mount.status_kib("VmHWM") // 1024
    sys.stderr.write(f"peak RSS of the daemon: {peak} MiB\n")
    assert peak <= LIMIT_MIB + OVERHEAD_MIB, f"the daemon grew to {peak} MiB under a limit of {LIMIT_MIB} MiB"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("small", ["native"], indirect=True)
@pytest.mark.parametrize("gibibytes", [2, pytest.param(4, marks=pytest.mark.long)])
def test_gibibytes_under_a_small_limit(small: Mount, gibibytes: int) -> None:
    path = small.workspace / "big"
    with timed("write", gibibytes * GIB):
        write_blocks(path, gibibytes * 1024)
    assert path.stat().st_size == gibibytes * GIB
    with timed("read", gibibytes * GIB):
        check_blocks(path, gibibytes * 1024)
    path.unlink()


@pytest.mark.long
def test_eight_writers_at_once_under_a_small_limit(small: Mount) -> None:
    paths = [small.workspace / f"file{number}" for number in range(8)]
    failures: list[BaseException] = []

    def work(path: Path, first: int) -> None:
        try:
            write_blocks(path, 256, first)
        except (OSError, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(path, number * 1000)) for number, path in enumerate(paths)]
    with timed("eight writers", 8 * 256 * MIB):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    for number, path in enumerate(paths):
        check_blocks(path, 256, number * 1000)


def test_random_writes_and_reads_in_a_big_file(small: Mount, scratch: Path) -> None:
    """More dirty bytes than the limit, in no order, held against a file on the disk that got the same."""
    chance = random.Random(3)
    ours, theirs = small.workspace / "big", scratch / "big"
    write_blocks(ours, 192)
    write_blocks(theirs, 192)
    with ours.open("r+b", buffering=0) as one, theirs.open("r+b", buffering=0) as other:
        for number in range(2500):
            offset = chance.randrange(192 * MIB)
            data = chance.randbytes(chance.randint(1, 96 * 1024))
            assert os.pwrite(one.fileno(), data, offset) == os.pwrite(other.fileno(), data, offset)
            if number % 5 == 0:
                where, length = chance.randrange(192 * MIB), chance.randint(1, 200_000)
                assert os.pread(one.fileno(), length, where) == os.pread(other.fileno(), length, where)
    _assert_same(ours, theirs)
    small.remount()
    _assert_same(ours, theirs)


def test_file_without_a_name_that_outgrows_the_limit(small: Mount) -> None:
    """What tempfile does, and sort(1): unlinked at once, then written, rewound and read."""
    path = small.workspace / "temporary"
    with path.open("w+b", buffering=0) as file:
        path.unlink()
        for number in range(160):
            assert file.write(block(number)) == MIB
        assert os.pwrite(file.fileno(), block(1000), 80 * MIB) == MIB
        assert os.fstat(file.fileno()).st_nlink == 0
        file.seek(0)
        for number in range(160):
            got = file.read(MIB)
            while len(got) < MIB and (more := file.read(MIB - len(got))):
                got += more
            assert got == block(1000 if number == 80 else number), number
    assert os.listdir(small.workspace) == []
    small.remount()
    left = [path for path in small.store_dir.rglob("*") if path.is_file() and path.stat().st_size >= MIB]
    assert left == [], "what had no name is still in the store"


def test_sparse_file(small: Mount, scratch: Path) -> None:
    chance = random.Random(4)
    ours, theirs = small.workspace / "sparse", scratch / "sparse"
    size = 400 * MIB + 12_345
    for path in (ours, theirs):
        path.touch()
        os.truncate(path, size)
    for _ in range(12):
        offset, data = chance.randrange(size), chance.randbytes(70_000)
        for path in (ours, theirs):
            with path.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), data, offset)
    _assert_same(ours, theirs)
    for path in (ours, theirs):
        os.truncate(path, 100 * MIB + 1)
        os.truncate(path, 101 * MIB)
    small.remount()
    _assert_same(ours, theirs)


def _assert_same(one: Path, other: Path) -> None:
    assert one.stat().st_size == other.stat().st_size
    with one.open("rb", buffering=0) as ours, other.open("rb", buffering=0) as theirs:
        at = 0
        while data := theirs.read(MIB):
            got = ours.read(len(data))
            while len(got) < len(data) and (more := ours.read(len(data) - len(got))):
                got += more
            assert got == data, f"they differ in the block at {at}"
            at += len(data)
