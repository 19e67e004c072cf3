"""The daemon is killed while programs write: what was acknowledged is there, and nothing else is.

`fsync=no` is enough for this. A killed process loses what it had in its own memory and nothing of what it had
handed to the kernel; only a power cut could tell the two apart.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.fuse import crash_writer
from tests.fuse.crash_writer import Change, Content, State, cut, generate, size_of
from tests.mounting import Mount

DISCONNECTED = {errno.ENOTCONN, errno.ECONNABORTED}


class Journal:
    """What one thread of the writer had been told was durable when it lost its file system."""

    def __init__(self, path: Path) -> None:
        self.done: State = {}
        self.gone: set[str] = set()
        self.open: Change = {}
        self.how = ""
        self.error = 0
        for line in map(json.loads, path.read_text().splitlines()):
            if "begin" in line:
                self.open = {name: (old, new) for name, (old, new) in line["begin"].items()}
                self.how = line["how"]
            elif "done" in line:
                self._settle()
            else:
                self.error = line["error"]

    def _settle(self) -> None:
        for path, (_, new) in self.open.items():
            self.done.pop(path, None)
            self.gone.discard(path)
            if new is None:
                self.gone.add(path)
            else:
                self.done[path] = new
        self.open = {}


class Found:
    """The files that the mount shows after the crash, held against what they may be.

    A file that was being written is what it was or what it was to be. With `spilled`, RAM was short: it may have
    been committed on the way (S4.9), so it may also be as far as the writer had got.
    """

    def __init__(self, root: Path, *, spilled: bool = False) -> None:
        self.root = root
        self.spilled = spilled
        everything = list(root.rglob("*"))
        self.paths = {str(path.relative_to(root)) for path in everything if not path.is_dir()}
        self.directories = {path.relative_to(root).parts for path in everything if path.is_dir()}

    def is_(self, path: str, content: Content | None) -> bool:
        if content is None or path not in self.paths:
            return content is None and path not in self.paths
        return (self.root / path).read_bytes() == generate(content)

    def judge(self, state: State, journals: list[Journal]) -> State:
        """Asserts that nothing acknowledged is lost and nothing unknown is there; returns what is there."""
        expected = dict(state)
        for journal in journals:
            expected |= journal.done
            for path in journal.gone:
                expected.pop(path, None)
        for journal in journals:
            for path in journal.open:
                expected.pop(path, None)
        for path, content in expected.items():
            assert self.is_(path, content), self._difference(path, content)
        for journal in journals:
            expected |= self._unfinished(journal)
        assert self.paths == set(expected), f"nobody wrote {self.paths - set(expected)}"
        for parts in self.directories:
            assert set(parts) <= crash_writer.DIRECTORIES, f"nobody made {parts}"
        return expected

    def _unfinished(self, journal: Journal) -> State:
        """The job that was cut short: every file is what it was or what it was to be, never a mixture."""
        there: State = {}
        for path, (old, new) in journal.open.items():
            candidates = [content for content in (old, new) if self.is_(path, content)]
            if not candidates and self.spilled and new is not None:
                candidates = [self._on_the_way(path, old or [], new, journal.how)]
            assert candidates, f"neither old nor new: {self._difference(path, new)}"
            if candidates[0] is not None:
                there[path] = candidates[0]
        if journal.how == "move":
            for content in (old for old, new in journal.open.values() if new is None):
                assert content in there.values(), f"lost on its way: {journal.open}"
        return there

    def _on_the_way(self, path: str, old: Content, new: Content, how: str) -> Content:
        """What the writer, who writes in order, had made of the file when it was committed."""
        assert path in self.paths, f"{path} is missing"
        got, wanted = (self.root / path).read_bytes(), generate(new)
        reached = _first_difference(got, wanted)
        content = cut(new, 0, reached)
        if how == "patch":
            content += cut(old, reached, size_of(old))
        least = size_of(old) if how == "append" else 0
        assert least <= len(got), f"{path} has lost what it had"
        assert got == generate(content), f"at no time so: {self._difference(path, new)}"
        return content

    def _difference(self, path: str, content: Content | None) -> str:
        if path not in self.paths:
            return f"{path} is missing"
        got, wanted = (self.root / path).read_bytes(), b"" if content is None else generate(content)
        first = _first_difference(got, wanted)
        return f"{path}: {len(got)} bytes, not {len(wanted)}; they differ from byte {first} on"


def _first_difference(one: bytes, other: bytes) -> int:
    """The length of what both begin with, found by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _write_until_killed(mount: Mount, scratch: Path, state: State, seed: int) -> list[Journal]:
    chance = random.Random(seed)
    journals = scratch / f"journals{seed}"
    journals.mkdir()
    known = scratch / "state.json"
    known.write_text(json.dumps(state))
    argv = [sys.executable, crash_writer.__file__, mount.workspace, journals, known, str(seed)]
    writer = subprocess.Popen([str(word) for word in argv])
    while len(list(journals.iterdir())) < 4:
        assert writer.poll() is None
        time.sleep(0.01)
    time.sleep(chance.uniform(0.02, 1.2))
    assert writer.poll() is None, "the writer failed before the crash"
    mount.kill9(detached=False)
    assert writer.wait(30) == 0
    found = [Journal(path) for path in sorted(journals.iterdir())]
    assert {journal.error for journal in found} <= DISCONNECTED, [journal.error for journal in found]
    return found


def _debris(mount: Mount) -> Iterator[str]:
    for directory in (mount.root, mount.memory):
        yield from os.listdir(directory)


def crash(mount: Mount, scratch: Path, rounds: int, *, spilled: bool = False) -> None:
    seed = int(os.environ.get("AGENTFS_TEST_SEED") or random.randrange(1 << 30))
    state: State = {}
    for number in range(rounds):
        sys.stderr.write(f"round {number}; AGENTFS_TEST_SEED={seed}\n")
        journals = _write_until_killed(mount, scratch, state, seed + number)
        mount.crash_and_restart()
        state = Found(mount.workspace, spilled=spilled).judge(state, journals)
        assert sorted(_debris(mount)) == ["memory", "workspace"]
    assert len(state) > rounds, "the writers hardly wrote"
    mount.remount()
    assert Found(mount.workspace).judge(state, []) == state


@pytest.mark.timeout(200)
@pytest.mark.parametrize("rounds", [10, pytest.param(20, marks=pytest.mark.long)])
def test_crashes_lose_nothing_acknowledged(mounts: MakeMount, scratch: Path, rounds: int) -> None:
    crash(mounts(), scratch, rounds=rounds)


def test_crashes_while_ram_is_short(mounts: MakeMount, scratch: Path) -> None:
    """Files are committed on the way then, and parts of them have left RAM: acknowledged is still acknowledged."""
    crash(mounts(native=False, ram_limit="16M"), scratch, rounds=6, spilled=True)
