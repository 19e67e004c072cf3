"""The kernel's table of mounts, /proc/self/mountinfo (proc(5)).

Reading it never touches a mount, so nothing here can hang on one that is dead or stuck. Every question that the
table can answer is asked here first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FSTYPE = "fuse.agentfs"

TABLE = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One mount. `device` is `major:minor`; the minor number is the name of the FUSE connection."""

    point: Path
    device: str
    fstype: str
    source: str
    options: str

    @property
    def is_agentfs(self) -> bool:
        return self.fstype == FSTYPE

    @property
    def connection(self) -> Path:
        return Path("/sys/fs/fuse/connections") / self.device.partition(":")[2]

    @property
    def owner(self) -> int | None:
        """The uid that mounted it; None where it is not FUSE."""
        found = re.search(r"(?:^|,)user_id=(\d+)", self.options)
        return int(found[1]) if found else None


def mount_table(path: Path = TABLE) -> list[MountEntry]:
    """All mounts that this process sees, in the order they were made."""
    entries = []
    for line in path.read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        point = Path(unescape(fields[4]))
        entries.append(MountEntry(point, fields[2], tail[0], unescape(tail[1]), tail[2]))
    return entries


def mounted_at(point: Path, path: Path = TABLE) -> MountEntry | None:
    """The uppermost mount on exactly this directory."""
    return next((entry for entry in reversed(mount_table(path)) if entry.point == point), None)


def unescape(text: str) -> str:
    r"""Blank, tab, line feed and backslash are written as \040, \011, \012 and \134."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
