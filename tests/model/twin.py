"""The same system calls on a mount and on a plain directory, with everything they answer compared.

What an operation gives back is its result or its errno; both sides must give the same. Times cannot be equal
to the nanosecond, so each operation leaves a window behind, from its start to its end: a time that the disk
took from the clock must, on the mount, lie in the same operation's window.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

OLD_NS = 1_600_000_000 * 10**9
"""2020: times below were set by a program and must be equal; times above come from the clock."""

_COARSE = 5
"""CLOCK_REALTIME_COARSE, from which the kernel stamps inodes: up to a tick behind the precise clock."""


@dataclass(slots=True)
class Side:
    """One of the two directories, and the descriptors that are open in it by the number of their pair."""

    name: str
    root: Path
    descriptors: dict[int, int] = field(default_factory=dict)

    def at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else str(self.root)

    def open(self, number: int, path: str, flags: int, mode: int) -> None:
        self.descriptors[number] = os.open(self.at(path), flags, mode)

    def close(self, number: int) -> None:
        os.close(self.descriptors.pop(number))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave: a value, or an errno."""

    value: object = None
    errno: int = 0

    def __str__(self) -> str:
        return errno.errorcode.get(self.errno, str(self.errno)) if self.errno else f"{self.value!r:.200}"


class Twin:
    """Runs calls on both sides, in two directories that it makes. `ours` is on the mount.

    The directories are not made at the top, so that a symbolic link to `../a` stays among its own.
    """

    def __init__(self, ours: Path, disk: Path) -> None:
        self.ours = Side("mount", ours / "top")
        self.disk = Side("disk", disk / "top")
        self._windows: list[tuple[int, int, str]] = []
        self.both("mkdir", lambda side: side.root.mkdir(parents=True))

    def both(self, what: str, call: Callable[[Side], object]) -> Outcome:
        """The common outcome. Raises AssertionError when the sides differ."""
        begun = time.clock_gettime_ns(_COARSE)
        ours = _attempt(call, self.ours)
        disk = _attempt(call, self.disk)
        self._windows.append((begun, time.time_ns(), what))
        assert ours == disk, f"{what}: the mount gave {ours}, the disk {disk}"
        return disk

    def same_moment(self, ours_ns: int, disk_ns: int) -> bool:
        """Equal if a program set them; else both from the same operation."""
        if disk_ns < OLD_NS:
            return ours_ns == disk_ns
        return not set(self._at(disk_ns)).isdisjoint(self._at(ours_ns))

    def origin(self, moment_ns: int) -> str:
        """The operations that may have left this time, or those between which it lies."""
        if moment_ns < OLD_NS:
            return f"{moment_ns}"
        if found := self._at(moment_ns):
            return f"{moment_ns} ({' or '.join(self._windows[i][2] for i in found)})"
        earlier = [
            f"{moment_ns - ended} ns after {what}" for _, ended, what in self._windows if ended < moment_ns
        ]
        later = [
            f"{begun - moment_ns} ns before {what}" for begun, _, what in self._windows if begun > moment_ns
        ]
        return f"{moment_ns} ({', '.join(earlier[-1:] + later[:1])})"

    def _at(self, moment_ns: int) -> list[int]:
        return [i for i, (begun, ended, _) in enumerate(self._windows) if begun <= moment_ns <= ended]


def _attempt(call: Callable[[Side], object], side: Side) -> Outcome:
    try:
        return Outcome(call(side))
    except OSError as error:
        return Outcome(errno=error.errno or -1)
