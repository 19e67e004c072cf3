"""Chapter 2: the root of the mount."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.model import linux
from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.semantics.program import fails_with


@semantics("S2.1")
def test_the_root_holds_workspace_and_memory(disk: Mount) -> None:
    assert sorted(os.listdir(disk.root)) == ["memory", "workspace"]
    assert disk.workspace.is_dir()
    assert disk.memory.is_dir()


@pytest.mark.parametrize("name", ["third", ".agentfs", "workspace2"])
@semantics("S2.2", "S2.3")
def test_nothing_can_be_made_in_the_root(disk: Mount, work: Path, name: str) -> None:
    path = disk.root / name
    (work / "file").write_bytes(b"")
    (work / "directory").mkdir()
    with fails_with(errno.EPERM):
        os.open(path, os.O_CREAT | os.O_WRONLY)
    with fails_with(errno.EPERM):
        path.mkdir()
    with fails_with(errno.EPERM):
        path.symlink_to("target")
    with fails_with(errno.EPERM):
        os.mkfifo(path)
    with fails_with(errno.EPERM):
        path.hardlink_to(work / "file")
    for source in (work / "file", work / "directory"):
        with fails_with(errno.EPERM):
            source.rename(path)
    assert sorted(os.listdir(disk.root)) == ["memory", "workspace"]


@semantics("S2.2")
def test_workspace_and_memory_stay_where_they_are(disk: Mount, work: Path) -> None:
    for path in (disk.workspace, disk.memory):
        with fails_with(errno.EPERM):
            path.rmdir()
        with fails_with(errno.EPERM):
            path.rename(disk.root / "elsewhere")
    with fails_with(errno.EPERM):
        disk.memory.rename(work / "inside")
    with fails_with(errno.EPERM):
        linux.renameat2(disk.workspace, disk.memory, linux.RENAME_EXCHANGE)


@semantics("S2.3")
def test_our_own_books_are_invisible(disk: Mount) -> None:
    (disk.user_dir / ".agentfs").mkdir(exist_ok=True)
    assert ".agentfs" not in os.listdir(disk.root)
    for call in (os.stat, os.listdir):
        with fails_with(errno.ENOENT):
            call(disk.root / ".agentfs")
    with fails_with(errno.ENOENT):
        os.open(disk.root / ".agentfs" / "orphans", os.O_RDONLY)


@semantics("S2.3")
def test_below_the_root_agentfs_is_a_name_like_any_other(disk: Mount, work: Path) -> None:
    (work / ".agentfs").mkdir()
    (work / ".agentfs" / "file").write_bytes(b"mine")
    disk.remount()
    assert os.listdir(work) == [".agentfs"]
    assert (work / ".agentfs" / "file").read_bytes() == b"mine"


@semantics("S2.4")
def test_the_attributes_of_the_root_are_made_up(disk: Mount) -> None:
    status = disk.root.stat()
    assert stat.filemode(status.st_mode) == "drwxr-xr-x"
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    with fails_with(errno.EPERM):
        disk.root.chmod(0o700)
    with fails_with(errno.EPERM):
        os.chown(disk.root, 1, 1)
    with fails_with(errno.EPERM):
        os.utime(disk.root, (1, 1))
    with fails_with(errno.EPERM):
        os.setxattr(disk.root, "user.a", b"value")
    assert stat.filemode(disk.root.stat().st_mode) == "drwxr-xr-x"


@semantics("S2.5")
def test_workspace_and_memory_have_attributes(disk: Mount) -> None:
    for path in (disk.workspace, disk.memory):
        path.chmod(0o1770)
        os.chown(path, 12, 34)
        os.setxattr(path, "user.colour", b"blue")
        os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    disk.remount()
    for path in (disk.workspace, disk.memory):
        status = path.stat()
        assert stat.filemode(status.st_mode) == "drwxrwx--T"
        assert (status.st_uid, status.st_gid) == (12, 34)
        assert status.st_mtime_ns == 2_000_000_002
        assert os.getxattr(path, "user.colour") == b"blue"


@semantics("S2.6")
def test_workspace_and_memory_are_one_file_system(disk: Mount, work: Path) -> None:
    assert disk.workspace.stat().st_dev == disk.memory.stat().st_dev
    (work / "tree").mkdir()
    (work / "tree" / "file").write_bytes(b"content")
    (work / "tree").rename(disk.memory / work.name)
    (disk.memory / "second name").hardlink_to(disk.memory / work.name / "file")
    disk.remount()
    assert (disk.memory / work.name / "file").read_bytes() == b"content"
    assert (disk.memory / "second name").read_bytes() == b"content"
    assert os.listdir(work) == []
    (disk.memory / "second name").unlink()
