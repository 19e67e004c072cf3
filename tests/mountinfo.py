"""The kernel's table of mounts, and how to take a mount away without asking its daemon.

Reading /proc/self/mountinfo never touches a mount, so none of this can hang on one.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

DETACH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of mountinfo (proc(5)). The minor device number is the name of the FUSE connection."""

    point: Path
    fstype: str
    minor: int
    source: str


def mount_table() -> list[Entry]:
    """All mounts this process sees. Never touches a mount itself."""
    entries = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        device, point = left.split()[2], left.split()[4]
        fstype, source = right.split()[:2]
        plain = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point)
        entries.append(Entry(Path(plain), fstype, int(device.split(":")[1]), source))
    return entries


def mounted_at(point: Path) -> Entry | None:
    """The uppermost mount on exactly this directory."""
    return next((entry for entry in reversed(mount_table()) if entry.point == point), None)


def mounts_below(root: Path) -> list[Entry]:
    return [entry for entry in mount_table() if entry.point.is_relative_to(root)]


def detach(point: Path) -> None:
    """Takes the mount away at once, whoever uses it and whether or not its daemon answers.

    A watchdog or the daemon itself may be doing the same: that umount then fails, and all is well.
    """
    command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    while entry := mounted_at(point):
        if entry.fstype.startswith("fuse"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"/sys/fs/fuse/connections/{entry.minor}/abort").write_text("1")
        done = subprocess.run(
            [*command, str(point)], check=False, timeout=DETACH_SECONDS, capture_output=True, text=True
        )
        assert done.returncode == 0 or mounted_at(point) != entry, f"{command}: {done.stderr}"


def remove_tree(root: Path) -> None:
    """Deletes a scratch directory; refuses while anything is mounted below, for that is somebody's data."""
    if live := mounts_below(root):
        raise AssertionError(f"still mounted below {root}: {[str(entry.point) for entry in live]}")
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True, timeout=120)
