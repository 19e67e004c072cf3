"""Chapter 14: free space."""

from __future__ import annotations

import os

from tests.mounting import Mount
from tests.semantics.document import semantics

GIB = 1 << 30


@semantics("S14.1")
def test_the_room_of_the_store_below(disk: Mount) -> None:
    ours, below = os.statvfs(disk.workspace), os.statvfs(disk.store_dir)
    assert abs(ours.f_blocks * ours.f_frsize - below.f_blocks * below.f_frsize) < GIB
    assert abs(ours.f_bavail * ours.f_frsize - below.f_bavail * below.f_frsize) < GIB


@semantics("S14.3")
def test_the_longest_name(disk: Mount) -> None:
    assert os.statvfs(disk.workspace).f_namemax == 255
    assert os.pathconf(disk.workspace, "PC_NAME_MAX") == 255
