"""Who keeps a mount busy.

Everything is read from /proc and compared as text or by device number: a stat of what a process has open would ask
the mount, which may not answer. Processes of others are only visible to root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vfs.daemon.mount_table import MountEntry, mount_table

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, and the first thing it was found to use."""

    pid: int
    command: str
    how: str

    def __str__(self) -> str:
        return f"pid {self.pid} {self.command} ({self.how})"


def holders(entry: MountEntry, proc: Path = PROC) -> list[Holder]:
    """The processes that this one may look into, by pid; not itself."""
    found = []
    for directory in sorted(
        (path for path in proc.iterdir() if path.name.isdigit()), key=lambda p: int(p.name)
    ):
        if int(directory.name) == os.getpid():
            continue
        with suppress(OSError):  # it ended, or belongs to someone else
            how = next(_uses(directory, entry), "")
            if how:
                found.append(Holder(int(directory.name), _command(directory), how))
    return found


def mounts_on(entry: MountEntry, table: list[MountEntry] | None = None) -> list[Path]:
    """Other mounts that keep it: those inside it, and bind mounts of it elsewhere."""
    table = mount_table() if table is None else table
    return [
        other.point
        for other in table
        if other.point != entry.point
        and (other.point.is_relative_to(entry.point) or (other.device == entry.device and entry.is_agentfs))
    ]


def _uses(directory: Path, entry: MountEntry) -> Iterator[str]:
    """Lazily: an open file ends the search before the maps of a large process are read."""
    for name, how in (("cwd", "working directory"), ("root", "root directory"), ("exe", "program")):
        if _inside(_link(directory / name), entry.point):
            yield how
    for descriptor in sorted(_listed(directory / "fd"), key=int):
        target = _link(directory / "fd" / descriptor)
        if _inside(target, entry.point):
            yield f"open file {_shown(target)}"
    device = "{:02x}:{:02x}".format(*map(int, entry.device.split(":")))
    with suppress(OSError), (directory / "maps").open(errors="surrogateescape") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 5)
            if len(fields) == 6 and fields[3] == device:
                yield f"mapped file {_shown(fields[5])}"


def _inside(target: str, point: Path) -> bool:
    return target == str(point) or target.startswith(f"{point}/") or target == f"{point} (deleted)"


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _listed(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _command(directory: Path) -> str:
    words = (directory / "cmdline").read_bytes().split(b"\0")
    text = " ".join(word.decode(errors="replace") for word in words if word)
    return _shown(text[:60] or (directory / "comm").read_text(errors="replace").strip())


def _shown(text: str) -> str:
    """On one line, and without control characters of whoever named the file."""
    return re.sub(r"[^\x20-\x7e\u00a0-\U0010ffff]", "?", text.encode(errors="replace").decode())
