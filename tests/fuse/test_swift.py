"""A mount on Swift, which has no If-Match and insists on parts of 5 MiB: what it lacks is asked for instead."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.servers.swift import Swift

MIB = 1 << 20

pytestmark = pytest.mark.swift


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_files_of_all_sizes_are_written_edited_moved_and_there_after_a_remount(
    mounts: MakeMount, swift: Swift
) -> None:
    mount: Mount = mounts(server=swift.server)
    work = mount.workspace / "work"
    (work / "sub").mkdir(parents=True)
    for number, size in enumerate((0, 1, 4096, MIB, 9 * MIB, 20 * MIB + 7)):
        (work / "sub" / f"file{number}").write_bytes(os.urandom(size))
    with (work / "sub" / "file5").open("r+b") as file:
        file.seek(10 * MIB)
        file.write(b"in the middle")
        file.seek(0, os.SEEK_END)
        file.write(b"at the end")
    (work / "sub" / "file1").chmod(0o600)
    os.utime(work / "sub" / "file2", (1, 2))
    (work / "link").symlink_to("sub/file1")
    (work / "sub" / "temporary").write_bytes(b"replaces")
    (work / "sub" / "temporary").replace(work / "sub" / "file3")
    subprocess.run(["mv", "sub", "moved"], cwd=work, check=True, timeout=60)
    before = tree(work)
    mount.remount()
    assert tree(work) == before
    assert len(before) == 6
    assert (work / "moved" / "file1").stat().st_mode & 0o777 == 0o600
    assert (work / "moved" / "file2").stat().st_mtime == 2
    assert os.readlink(work / "link") == "sub/file1"


def test_two_mounts_without_conditional_writes_lose_no_line(mounts: MakeMount, swift: Swift) -> None:
    one = mounts(server=swift.server, prefix="pair")
    other = mounts(server=swift.server, prefix="pair")
    for number in range(4):
        for mount, who in ((one, "one"), (other, "other")):
            with (mount.workspace / "log").open("a") as log:
                log.write(f"{who} {number}\n")
    one.remount()
    lines = (one.workspace / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{who} {number}" for who in ("one", "other") for number in range(4))
