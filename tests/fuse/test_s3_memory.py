"""One GiB through a mount on S3: RAM under its ceiling, and not one byte of it on the local disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.fuse.test_big_file import LIMIT_MIB, OVERHEAD_MIB, check_blocks, timed, write_blocks
from tests.mountinfo import detach
from tests.mounting import Mount
from tests.servers.server import Server

MIB = 1 << 20
GIB = 1 << 30

LOG_BYTES = MIB
"""What the daemon may write to the disk all the same: its log."""


@pytest.fixture
def no_room(scratch: Path) -> Iterator[Path]:
    """A directory for temporary files that takes none: a file system of 1 MiB, read-only."""
    path = scratch / "tmp"
    path.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run(
        [*as_root, "mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", path], check=True, timeout=30
    )
    yield path
    if os.geteuid() == 0:
        detach(path)
    else:
        subprocess.run(["sudo", "-n", "umount", "-l", path], check=True, timeout=30)


def written_to_disk(mount: Mount) -> int:
    """Bytes that the daemon's process has caused to be sent to the block layer (proc_pid_io(5))."""
    lines = Path(f"/proc/{mount.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def test_a_gibibyte_without_a_disk(mounts: MakeMount, s3: Server, no_room: Path) -> None:
    mount = mounts(server=s3, ram_limit=f"{LIMIT_MIB}M", env=(("TMPDIR", str(no_room)),))
    path = mount.workspace / "big"
    with timed("write", GIB):
        write_blocks(path, 1024)
    with timed("read", GIB):
        check_blocks(path, 1024)
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"edit", 700 * MIB + 12_345)
    on_disk, peak = written_to_disk(mount), mount.status_kib("VmHWM") // 1024
    sys.stderr.write(f"on the disk: {on_disk} bytes; peak RSS: {peak} MiB\n")
    assert on_disk <= LOG_BYTES
    assert peak <= LIMIT_MIB + OVERHEAD_MIB, f"the daemon grew to {peak} MiB under a limit of {LIMIT_MIB} MiB"
    (entry,) = s3.client.listing(f"{mount.user_prefix}workspace/big")
    assert entry.size == GIB
    kept = [file for file in mount.base.rglob("*") if file.is_file() and mount.root not in file.parents]
    assert sum(file.stat().st_size for file in kept) <= LOG_BYTES, kept
