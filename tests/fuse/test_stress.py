"""Several programs at once under a RAM limit that is far too small for them, each held against an ordinary disk.

Every worker does the same random operations in a directory of the mount and in one of the disk, keeps files open
across them, and compares what it reads. What one sees must not depend on what the others do.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount

KIB, MIB = 1 << 10, 1 << 20
WORKERS = 6
STEPS = 200
LARGEST = 20 * MIB
NAMES = [f"file{number}" for number in range(6)]


@dataclass(slots=True)
class Open:
    """One file open on both sides. It may have lost its name meanwhile, or got another."""

    ours: int
    theirs: int
    appends: bool


class Worker:
    """One program. `ours` is on the mount, `theirs` on the disk."""

    def __init__(self, ours: Path, theirs: Path, seed: str, steps: int = STEPS) -> None:
        self.ours, self.theirs = ours, theirs
        self.chance = random.Random(seed)
        self.files: list[Open] = []
        self.steps = steps
        self.failure: BaseException | None = None
        self.step = ""
        ours.mkdir()
        theirs.mkdir()

    def run(self) -> None:
        steps = [self.write, self.write, self.read, self.read, self.rename, self.unlink, self.truncate]
        steps += [self.open, self.open, self.sync, self.close, self.link, self.stream]
        try:
            for _ in range(self.steps):
                step = self.chance.choice(steps)
                self.step = step.__name__
                step()
            while self.files:
                self.close()
        except (OSError, AssertionError) as error:
            self.failure = error

    def both(self, name: str) -> tuple[Path, Path]:
        return self.ours / name, self.theirs / name

    def existing(self) -> str | None:
        names = sorted(os.listdir(self.theirs))
        assert sorted(os.listdir(self.ours)) == names
        return self.chance.choice(names) if names else None

    def pick(self) -> Open | None:
        return self.chance.choice(self.files) if self.files else None

    def open(self) -> None:
        if len(self.files) >= 5:
            self.close()
        name = self.chance.choice(NAMES)
        flags = os.O_RDWR | os.O_CREAT | self.chance.choice([0, 0, os.O_TRUNC, os.O_APPEND])
        one, other = (os.open(path, flags, 0o644) for path in self.both(name))
        self.files.append(Open(one, other, bool(flags & os.O_APPEND)))

    def close(self) -> None:
        if file := self.pick():
            self.files.remove(file)
            os.close(file.ours)
            os.close(file.theirs)

    def write(self) -> None:
        if file := self.pick():
            offset = self.chance.randrange(LARGEST)
            data = self.chance.randbytes(self.chance.choice([100, 5000, 70 * KIB, 700 * KIB]))
            if file.appends:
                assert os.write(file.ours, data) == os.write(file.theirs, data)
            else:
                assert os.pwrite(file.ours, data, offset) == os.pwrite(file.theirs, data, offset)

    def stream(self) -> None:
        """A few parts of a multipart upload in order."""
        name = self.chance.choice(NAMES)
        data = self.chance.randbytes(MIB)
        for path in self.both(name):
            with path.open("wb", buffering=0) as file:
                for number in range(18):
                    assert file.write(number.to_bytes(4, "big") + data[4:]) == MIB

    def read(self) -> None:
        if file := self.pick():
            offset, length = self.chance.randrange(LARGEST), self.chance.choice([100, 5000, 900 * KIB])
            assert os.pread(file.ours, length, offset) == os.pread(file.theirs, length, offset)
            assert os.fstat(file.ours).st_size == os.fstat(file.theirs).st_size

    def truncate(self) -> None:
        if file := self.pick():
            size = self.chance.randrange(LARGEST)
            os.ftruncate(file.ours, size)
            os.ftruncate(file.theirs, size)

    def sync(self) -> None:
        if file := self.pick():
            os.fsync(file.ours)

    def rename(self) -> None:
        if name := self.existing():
            target = self.chance.choice(NAMES)
            for root in (self.ours, self.theirs):
                (root / name).replace(root / target)

    def unlink(self) -> None:
        if name := self.existing():
            for path in self.both(name):
                path.unlink()

    def link(self) -> None:
        name, target = self.existing(), self.chance.choice(NAMES)
        if name and not (self.theirs / target).exists():
            for root in (self.ours, self.theirs):
                (root / target).hardlink_to(root / name)

    def compare(self) -> None:
        names = sorted(os.listdir(self.theirs))
        assert sorted(os.listdir(self.ours)) == names
        for name in names:
            one, other = self.both(name)
            assert one.stat().st_size == other.stat().st_size, name
            assert one.read_bytes() == other.read_bytes(), name


def work(mount: Mount, scratch: Path, seed: int, count: int = WORKERS, steps: int = STEPS) -> list[Worker]:
    """So many at once, to their end; what is on the mount then is what is on the disk."""
    workers = [
        Worker(mount.workspace / f"worker{number}", scratch / f"worker{number}", f"{seed}/{number}", steps)
        for number in range(count)
    ]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        if worker.failure is not None:
            raise AssertionError(f"{worker.ours.name} in {worker.step}") from worker.failure
    for worker in workers:
        worker.compare()
    return workers


@pytest.mark.long
def test_programs_do_not_disturb_each_other(mounts: MakeMount, scratch: Path) -> None:
    seed = int(os.environ.get("AGENTFS_TEST_SEED") or random.randrange(1 << 30))
    sys.stderr.write(f"AGENTFS_TEST_SEED={seed}\n")
    mount = mounts(native=False, ram_limit="32M")
    workers = work(mount, scratch, seed)
    mount.remount()
    for worker in workers:
        worker.compare()
    assert mount.status_kib("VmHWM") >> 10 <= 32 + 120
