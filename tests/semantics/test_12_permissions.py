"""Chapter 12: permissions. The tests run as root and act as nobody in processes of their own."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import NOBODY, fails_with, python


def _open_the_way(path: Path) -> None:
    """Lets other users through to a scratch directory; what is in it has modes of its own."""
    for directory in path.parents:
        if directory.stat().st_mode & 0o077 == 0:
            directory.chmod(0o711)


@pytest.fixture
def open_to_all(mounts: MakeMount) -> Iterator[Path]:
    """A directory that everybody may write to, on a mount that everybody may enter."""
    mount = mounts(flags=("--allow-other",))
    _open_the_way(mount.root)
    work = mount.workspace / "shared"
    work.mkdir()
    work.chmod(0o777)
    yield work
    os.chdir("/")


def as_nobody(source: str, *arguments: object) -> str:
    return python(source, *arguments, user=NOBODY)


@semantics("S12.1")
def test_the_kernel_enforces_modes_and_owners(open_to_all: Path) -> None:
    path = open_to_all / "file"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    assert as_nobody("print(open(sys.argv[1]).read())", path) == "EACCES"
    assert as_nobody("os.chmod(sys.argv[1], 0o666)", path) == "EPERM"
    assert as_nobody("print(os.access(sys.argv[1], os.R_OK))", path) == "False"
    os.chown(path, NOBODY, 0)
    assert as_nobody("print(open(sys.argv[1]).read())", path) == "secret"
    path.chmod(0o060)
    assert as_nobody("print(open(sys.argv[1]).read())", path) == "EACCES"
    open_to_all.chmod(0o755)
    assert as_nobody("open(sys.argv[1] + '/new', 'w')", open_to_all) == "EACCES"
    open_to_all.chmod(0o700)
    assert as_nobody("os.stat(sys.argv[1])", path) == "EACCES"


@semantics("S12.2")
def test_without_allow_other_nobody_else_gets_in(mounts: MakeMount) -> None:
    mount = mounts()
    _open_the_way(mount.root)
    assert as_nobody("os.listdir(sys.argv[1])", mount.root) == "EACCES"
    assert as_nobody("os.stat(sys.argv[1])", mount.workspace) == "EACCES"


@semantics("S12.3")
def test_new_files_belong_to_the_caller(open_to_all: Path) -> None:
    create = """
os.umask(0o027)
os.close(os.open(sys.argv[1] + "/file", os.O_CREAT | os.O_WRONLY, 0o666))
os.mkdir(sys.argv[1] + "/directory", 0o777)
os.mkfifo(sys.argv[1] + "/fifo", 0o666)
os.symlink("x", sys.argv[1] + "/symlink")
"""
    assert as_nobody(create, open_to_all) == ""
    modes = {"file": 0o640, "directory": 0o750, "fifo": 0o640, "symlink": 0o777}
    for name, mode in modes.items():
        status = (open_to_all / name).lstat()
        assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
        assert stat.S_IMODE(status.st_mode) == mode, name


@semantics("S12.4")
def test_setgid_directories_hand_down_their_group(disk: Mount, work: Path) -> None:
    os.chown(work, 0, 1234)
    work.chmod(0o2775)
    (work / "file").write_bytes(b"x")
    (work / "directory").mkdir()
    (work / "directory" / "deep").mkdir()
    for name in ("file", "directory", "directory/deep"):
        assert (work / name).stat().st_gid == 1234, name
    assert (work / "directory" / "deep").stat().st_mode & stat.S_ISGID
    assert not (work / "file").stat().st_mode & stat.S_ISGID
    disk.remount()
    assert (work / "directory" / "deep").stat().st_gid == 1234


@semantics("S12.5")
def test_sticky_directories_protect_the_files_of_others(open_to_all: Path) -> None:
    open_to_all.chmod(0o1777)
    (open_to_all / "roots").write_bytes(b"x")
    (open_to_all / "nobodys").write_bytes(b"x")
    os.chown(open_to_all / "nobodys", NOBODY, NOBODY)
    assert as_nobody("os.unlink(sys.argv[1] + '/roots')", open_to_all) == "EPERM"
    assert as_nobody("os.rename(sys.argv[1] + '/roots', sys.argv[1] + '/b')", open_to_all) == "EPERM"
    assert as_nobody("os.unlink(sys.argv[1] + '/nobodys')", open_to_all) == ""
    assert os.listdir(open_to_all) == ["roots"]


@semantics("S12.6")
@pytest.mark.parametrize("change", ["os.write(os.open(sys.argv[1], 1), b'x')", "os.truncate(sys.argv[1], 1)"])
def test_changing_content_clears_the_setuid_bit(open_to_all: Path, change: str) -> None:
    path = open_to_all / "program"
    path.write_bytes(b"content")
    path.chmod(0o6777)
    assert as_nobody(change, path) == ""
    assert oct(stat.S_IMODE(path.stat().st_mode)) == "0o777"
    path.chmod(0o6777)
    path.write_bytes(b"by root")
    assert oct(stat.S_IMODE(path.stat().st_mode)) == "0o6777"


@semantics("S12.7")
def test_chown_clears_the_setuid_bit(work: Path) -> None:
    path = work / "program"
    path.write_bytes(b"x")
    path.chmod(0o6755)
    os.chown(path, 5, 6)
    assert oct(stat.S_IMODE(path.stat().st_mode)) == "0o755"
    work.chmod(0o6755)
    os.chown(work, 5, 6)
    assert oct(stat.S_IMODE(work.stat().st_mode)) == "0o6755"


@semantics("S12.8")
def test_programs_run_from_the_mount(disk: Mount, work: Path) -> None:
    (work / "script").write_text("#!/bin/sh\necho from the mount\n")
    (work / "script").chmod(0o755)
    (work / "true").write_bytes(Path("/bin/true").read_bytes())
    (work / "true").chmod(0o755)
    assert subprocess.check_output([work / "script"], text=True, timeout=30) == "from the mount\n"
    assert subprocess.run([work / "true"], timeout=30, check=False).returncode == 0
    (work / "script").chmod(0o644)
    with fails_with(errno.EACCES):
        subprocess.run([work / "script"], timeout=30, check=False)
    line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if str(disk.root) in line)
    assert {"nosuid", "nodev"} <= set(line.split()[3].split(","))


@semantics("S12.9")
def test_a_read_only_mount(mounts: MakeMount, opened: Open) -> None:
    writable = mounts()
    path = writable.workspace / "file"
    path.write_bytes(b"content")
    (writable.workspace / "directory").mkdir()
    writable.unmount()
    mount = mounts(store=writable.store_dir, read_only=True)
    work = mount.workspace
    assert (work / "file").read_bytes() == b"content"
    changes = (
        lambda: os.open(work / "file", os.O_WRONLY),
        lambda: os.open(work / "new", os.O_CREAT | os.O_WRONLY),
        lambda: os.truncate(work / "file", 0),
        lambda: (work / "file").chmod(0o600),
        lambda: os.chown(work / "file", 1, 1),
        lambda: os.utime(work / "file", (1, 1)),
        lambda: os.setxattr(work / "file", "user.a", b"b"),
        (work / "file").unlink,
        lambda: (work / "file").rename(work / "new"),
        lambda: os.link(work / "file", work / "new"),
        lambda: (work / "new").symlink_to("x"),
        lambda: os.mkfifo(work / "new"),
        (work / "new").mkdir,
        (work / "directory").rmdir,
    )
    for change in changes:
        with fails_with(errno.EROFS):
            change()
