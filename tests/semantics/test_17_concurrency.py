"""Chapter 17: many processes on one mount."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.model import linux
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics

_spawn = multiprocessing.get_context("spawn")


@semantics("S17.1")
@pytest.mark.parametrize(("length", "count"), [(80, 300), (128 * 1024, 20)])
def test_appends_are_neither_lost_nor_torn(disk: Mount, work: Path, length: int, count: int) -> None:
    path = work / "log"
    writers = [_spawn.Process(target=_append, args=(path, i, length, count)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    disk.remount()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4 * count
    assert {len(line) for line in lines} == {length}
    for i in range(4):
        mine = [int(line[2:8]) for line in lines if line.startswith(b"%d " % i)]
        assert mine == list(range(count))


def _append(path: Path, who: int, length: int, count: int) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for i in range(count):
        line = (b"%d %06d " % (who, i)).ljust(length - 1, b"x") + b"\n"
        if os.write(descriptor, line) != length:
            raise AssertionError("a short write")
    os.close(descriptor)


@semantics("S17.2")
def test_writes_of_several_handles_all_arrive(disk: Mount, work: Path, opened: Open) -> None:
    path = work / "file"
    descriptors = [opened(path, os.O_CREAT | os.O_RDWR) for _ in range(4)]
    for i in range(400):
        os.pwrite(descriptors[i % 4], bytes([i % 251]) * 1000, i * 600)
    expected = bytearray(399 * 600 + 1000)
    for i in range(400):
        expected[i * 600 : i * 600 + 1000] = bytes([i % 251]) * 1000
    for descriptor in descriptors:
        os.close(descriptor)
    disk.remount()
    assert path.read_bytes() == expected


@semantics("S17.3")
def test_writing_goes_on_while_commits_run(disk: Mount, work: Path, opened: Open) -> None:
    path = work / "file"
    descriptor = opened(path, os.O_CREAT | os.O_RDWR)
    done = threading.Event()

    def sync() -> None:
        while not done.is_set():
            os.fsync(descriptor)

    syncer = threading.Thread(target=sync)
    syncer.start()
    expected = bytearray(3 << 20)
    for i in range(600):
        offset = i * 7919 % (len(expected) - 4096)
        data = i.to_bytes(4, "big") * 1000
        os.pwrite(descriptor, data, offset)
        expected[offset : offset + 4000] = data
        if i % 50 == 0:
            assert os.pread(descriptor, 4000, offset) == data
    done.set()
    syncer.join()
    length = os.fstat(descriptor).st_size
    os.close(descriptor)
    disk.remount()
    assert path.read_bytes() == expected[:length]


def _create(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def _mkdir(source: Path, target: Path) -> None:
    target.mkdir()


def _symlink(source: Path, target: Path) -> None:
    target.symlink_to("x")


def _link(source: Path, target: Path) -> None:
    os.link(source, target)


def _rename(source: Path, target: Path) -> None:
    linux.renameat2(source, target, linux.RENAME_NOREPLACE)


@semantics("S17.4")
@pytest.mark.parametrize("make", [_create, _mkdir, _symlink, _link, _rename])
def test_exactly_one_of_many_succeeds(work: Path, make: Callable[[Path, Path], None]) -> None:
    for round_ in range(10):
        won: list[int] = []
        barrier = threading.Barrier(6)
        target = work / f"target{round_}"

        def race(who: int, target: Path = target, barrier: threading.Barrier = barrier) -> None:
            source = work / f"source-{target.name}-{who}"
            source.write_bytes(b"x")
            barrier.wait()
            try:
                make(source, target)
            except FileExistsError:
                return
            won.append(who)  # noqa: B023

        racers = [threading.Thread(target=race, args=(i,)) for i in range(6)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert len(won) == 1
