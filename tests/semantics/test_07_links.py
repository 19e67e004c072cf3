"""Chapter 7: hard and symbolic links."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tests.model import linux
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, fails_with

BOTH_STORES = True

MIB = 1 << 20


@semantics("S7.1")
def test_two_names_of_one_file(work: Path) -> None:
    one, two = work / "one", work / "two"
    one.write_bytes(b"content")
    os.link(one, two)
    assert one.stat().st_ino == two.stat().st_ino
    assert (one.stat().st_nlink, two.stat().st_nlink) == (2, 2)
    two.write_bytes(b"through two")
    assert one.read_bytes() == b"through two"
    one.chmod(0o600)
    assert stat.S_IMODE(two.stat().st_mode) == 0o600
    os.link(two, work / "three")
    assert one.stat().st_nlink == 3


@semantics("S7.2")
def test_every_name_is_an_object_with_all_the_content(work: Path, stored: Stored) -> None:
    names = [work / "one", work / "two", work / "three"]
    names[0].write_bytes(b"content")
    for name in names[1:]:
        os.link(names[0], name)
    for content in (b"small", os.urandom(18 * MIB)):
        names[1].write_bytes(content)
        assert [stored.bytes(name) == content for name in names] == [True] * 3
    with names[2].open("r+b") as file:
        file.seek(9 * MIB)
        file.write(b"edited")
    assert [stored.bytes(name) == names[0].read_bytes() for name in names] == [True] * 3
    names[0].chmod(0o751)
    assert {stored.metadata(name)["mode"] for name in names} == {str(stat.S_IFREG | 0o751)}


@semantics("S7.3")
def test_links_end_with_the_mount(disk: Mount, work: Path) -> None:
    one, two = work / "one", work / "two"
    one.write_bytes(b"content")
    os.link(one, two)
    os.setxattr(one, "user.a", b"b")
    disk.remount()
    assert two.read_bytes() == b"content"
    assert os.getxattr(two, "user.a") == b"b"
    assert one.stat().st_ino != two.stat().st_ino
    assert (one.stat().st_nlink, two.stat().st_nlink) == (1, 1)
    two.write_bytes(b"changed")
    assert one.read_bytes() == b"content"


@semantics("S7.4")
def test_removing_one_name_leaves_the_others(disk: Mount, work: Path, stored: Stored) -> None:
    one, two = work / "one", work / "two"
    one.write_bytes(b"content")
    os.link(one, two)
    one.unlink()
    assert two.stat().st_nlink == 1
    assert two.read_bytes() == b"content"
    two.write_bytes(b"new content")
    assert stored.bytes(one) is None
    disk.remount()
    assert two.read_bytes() == b"new content"
    assert os.listdir(work) == ["two"]


@semantics("S7.4")
def test_git_links_a_temporary_file_and_removes_it(work: Path, stored: Stored, opened: Open) -> None:
    descriptor = opened(work / "tmp_obj", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444)
    os.write(descriptor, b"object")
    os.close(descriptor)
    os.link(work / "tmp_obj", work / "final")
    os.unlink(work / "tmp_obj")
    assert (work / "final").read_bytes() == b"object"
    assert stored.bytes(work / "final") == b"object"
    assert stored.bytes(work / "tmp_obj") is None


@semantics("S7.1")
def test_links_of_every_kind(disk: Mount, work: Path) -> None:
    (work / "symlink").symlink_to("target")
    os.mkfifo(work / "fifo")
    for name in ("symlink", "fifo"):
        os.link(work / name, work / f"second {name}", follow_symlinks=False)
        one, two = (work / name).lstat(), (work / f"second {name}").lstat()
        assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)
    disk.remount()
    assert os.readlink(work / "second symlink") == "target"
    assert stat.S_ISFIFO((work / "second fifo").stat().st_mode)


@semantics("S7.5")
def test_what_cannot_be_linked(work: Path) -> None:
    (work / "directory").mkdir()
    with fails_with(errno.EPERM):
        os.link(work / "directory", work / "second")
    for name in ("one", "two"):
        (work / name).write_bytes(name.encode())
    with fails_with(errno.EEXIST):
        os.link(work / "one", work / "two")
    assert (work / "two").read_bytes() == b"two"


@semantics("S7.5")
def test_a_file_has_at_most_a_thousand_names(work: Path) -> None:
    (work / "0").write_bytes(b"x")
    for i in range(1, 1_000):
        os.link(work / "0", work / f"{i}")
    with fails_with(errno.EMLINK):
        os.link(work / "0", work / "1000")
    assert (work / "999").stat().st_nlink == 1_000


@semantics("S7.6")
def test_a_link_is_durable_when_it_is_made(disk: Mount, work: Path, opened: Open) -> None:
    (work / "clean").write_bytes(b"clean")
    os.link(work / "clean", work / "clean-link")
    descriptor = opened(work / "dirty", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"dirty")
    os.link(work / "dirty", work / "dirty-link")
    disk.crash_and_restart()
    assert sorted(os.listdir(work)) == ["clean", "clean-link", "dirty", "dirty-link"]
    for name in ("dirty", "dirty-link"):
        assert (work / name).read_bytes() == b"dirty"
    assert (work / "clean-link").read_bytes() == b"clean"


@semantics("S7.7", "S7.8")
def test_symbolic_links(disk: Mount, work: Path, stored: Stored) -> None:
    targets = [
        b"target",
        b"/etc/passwd",
        b"../..",
        b"line\nbreak",
        "é".encode(),
        b"\xff not utf-8",
        b"x" * 4095,
    ]
    for i, target in enumerate(targets):
        os.symlink(target, os.fsencode(work / f"link{i}"))
    disk.remount()
    for i, target in enumerate(targets):
        path = work / f"link{i}"
        assert os.readlink(os.fsencode(path)) == target
        assert stored.bytes(path) == target
        status = path.lstat()
        assert (stat.filemode(status.st_mode), status.st_size) == ("lrwxrwxrwx", len(target))
        assert stored.metadata(path)["mode"] == str(stat.S_IFLNK | 0o777)


@semantics("S7.7")
def test_symbolic_links_are_followed(work: Path) -> None:
    (work / "directory").mkdir()
    (work / "directory" / "file").write_bytes(b"content")
    (work / "link").symlink_to("directory")
    assert (work / "link" / "file").read_bytes() == b"content"
    (work / "loop").symlink_to("loop")
    with fails_with(errno.ELOOP):
        (work / "loop").read_bytes()


@semantics("S7.9")
def test_owner_and_times_of_a_symbolic_link(disk: Mount, work: Path) -> None:
    path = work / "link"
    path.symlink_to("target")
    os.chown(path, 7, 8, follow_symlinks=False)
    os.utime(path, ns=(1_000_000_009, 2_000_000_009), follow_symlinks=False)
    with fails_with(errno.EOPNOTSUPP):
        linux.lchmod(path, 0o600)
    disk.remount()
    status = path.lstat()
    assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (7, 8, 2_000_000_009)
    assert os.readlink(path) == "target"


@semantics("S7.10")
def test_there_are_no_files_without_a_first_name(work: Path) -> None:
    with fails_with(errno.EOPNOTSUPP):
        os.open(work, os.O_TMPFILE | os.O_RDWR)
