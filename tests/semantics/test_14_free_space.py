"""Chapter 14: free space."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from tests.fakes import MemoryStore
from tests.mounting import Mount
from tests.semantics.document import semantics
from vfs.config import Config
from vfs.core.filesystem import FileSystem

GIB, PIB = 1 << 30, 1 << 50


@semantics("S14.1")
def test_the_room_of_the_store_below(disk: Mount) -> None:
    ours, below = os.statvfs(disk.workspace), os.statvfs(disk.store_dir)
    assert abs(ours.f_blocks * ours.f_frsize - below.f_blocks * below.f_frsize) < GIB
    assert abs(ours.f_bavail * ours.f_frsize - below.f_bavail * below.f_frsize) < GIB


@semantics("S14.2")
def test_a_store_without_an_end(tmp_path: Path) -> None:
    """Without a kernel: no store that can be mounted here is endless."""
    usage = trio.run(FileSystem(MemoryStore(), Config(tmp_path, "u1")).usage)
    assert (usage.total, usage.free) == (PIB, PIB)


@semantics("S14.3")
def test_the_longest_name(disk: Mount) -> None:
    assert os.statvfs(disk.workspace).f_namemax == 255
    assert os.pathconf(disk.workspace, "PC_NAME_MAX") == 255
