"""A random program: hypothesis chooses the system calls, `Twin` makes them on the mount and on the disk.

Names are few, so that calls meet: most fall on something that exists, and files are renamed, replaced and
removed while they are open. What exists is asked of the disk, which needs no mercy from the mount.
"""

from __future__ import annotations

import itertools
import os
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from tests.model import tree
from tests.model.twin import Outcome, Side, Twin

NAMES = ("a", "b", "c", "d.txt", "é", "line\nbreak", " blank ", "%41*\\", "n" * 60)

MAX_DEPTH = 4
"""So that no key comes near its limit, which the disk does not have."""

MAX_HANDLES = 12


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large writes get and how far out they go, bytes."""

    write: int = 20_000
    offset: int = 70_000


index = st.integers(0, 1_000_000)
"""Chooses among what there is, modulo its number; shrinks towards the first."""

amount = st.integers(0, 1 << 26)
"""A size or an offset, modulo the limit of `Sizes`."""

name = st.sampled_from(NAMES)
mode = st.sampled_from((0o644, 0o600, 0o755, 0o777, 0o444, 0o000, 0o4755, 0o2755, 0o1777, 0o2777))
owner = st.sampled_from((-1, 0, 1, 1000, 65534, 4_000_000))
moment = st.integers(0, 1_599_999_999 * 10**9)


class Program(RuleBasedStateMachine):
    """What the families of rules share: the two sides, what exists, what is open."""

    sizes = Sizes()

    def __init__(self, twin: Twin) -> None:
        super().__init__()
        self.twin = twin
        self.numbers = itertools.count()
        self.flags: dict[int, int] = {}
        self.calls = 0

    def both(self, what: str, call: Callable[[Side], object]) -> Outcome:
        self.calls += 1
        outcome = self.twin.both(what, call)
        note(f"  {what} -> {outcome}")
        return outcome

    def existing(self, number: int) -> str:
        """One of the paths there are; the top directory itself when there is none."""
        paths = sorted(tree.listing(self.twin.disk.root))
        return paths[number % len(paths)] if paths else ""

    def directory(self, number: int) -> str:
        """One of the directories there are, the top one included."""
        paths = sorted(path for path in tree.listing(self.twin.disk.root) if stat.S_ISDIR(self.kind(path)))
        shallow = ["", *(path for path in paths if path.count("/") < MAX_DEPTH - 1)]
        return shallow[number % len(shallow)]

    def place(self, number: int, last: str) -> str:
        """A name, taken or free, in an existing directory."""
        parent = self.directory(number)
        return f"{parent}/{last}" if parent else last

    def kind(self, path: str) -> int:
        """Mode of the name itself on the disk, 0 when there is none."""
        try:
            return os.lstat(self.twin.disk.at(path)).st_mode
        except FileNotFoundError:
            return 0

    def handle(self, number: int) -> int:
        """One of the open pairs of descriptors; there must be one."""
        opened = sorted(self.flags)
        return opened[number % len(opened)]

    def close_handle(self, handle: int) -> None:
        del self.flags[handle]
        self.both(f"close({handle})", lambda side: side.close(handle))

    def close_all(self) -> None:
        for handle in sorted(self.flags):
            self.close_handle(handle)

    def look(self, path: str) -> None:
        """stat(2) of a path, compared in everything that can be."""
        if self.kind(path):
            ours, disk = os.lstat(self.twin.ours.at(path)), os.lstat(self.twin.disk.at(path))
            differences = tree.compare_stat(self.twin, path, ours, disk)
            assert not differences, "\n".join(differences)

    def teardown(self) -> None:
        self.close_all()
        tree.compare(self.twin)


def any_open(program: Program) -> bool:
    return bool(program.flags)


def pattern(seed: int, length: int) -> bytes:
    """Bytes that tell where they came from."""
    return random.Random(seed).randbytes(length)
