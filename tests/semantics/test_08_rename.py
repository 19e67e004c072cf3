"""Chapter 8: rename."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.model import linux
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, eventually, fails_with

BOTH_STORES = True


@semantics("S8.1")
def test_a_renamed_file_stays_the_same_file(disk: Mount, work: Path) -> None:
    old, new = work / "old", work / "new"
    old.write_bytes(b"content")
    old.chmod(0o604)
    os.chown(old, 3, 4)
    os.setxattr(old, "user.a", b"b")
    os.utime(old, ns=(10, 20))
    before = old.stat()
    old.rename(new)
    after = new.stat()
    assert after.st_ino == before.st_ino
    with fails_with(errno.ENOENT):
        old.stat()
    disk.remount()
    after = new.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, 3, 4)
    assert (after.st_atime_ns, after.st_mtime_ns) == (10, 20)
    assert os.getxattr(new, "user.a") == b"b"
    assert new.read_bytes() == b"content"
    assert os.listdir(work) == ["new"]


@semantics("S8.2")
def test_replacing_is_one_step_for_readers(disk: Mount, work: Path, stored: Stored) -> None:
    before = stored.private()
    path = work / "file"
    path.write_bytes(b"0" * 50_000)
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                found = path.read_bytes()
            except OSError as error:
                wrong.append(error)
                return
            if len(found) != 50_000 or len(set(found)) != 1:
                wrong.append((len(found), set(found)))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(120):
        temporary = work / "temporary"
        temporary.write_bytes(bytes([48 + i % 10]) * 50_000)
        temporary.rename(path)
    done.set()
    reader.join()
    assert wrong == []
    eventually(lambda: stored.private() == before, "the replaced files are gone")
    disk.remount()
    assert path.read_bytes() == b"9" * 50_000
    assert os.listdir(work) == ["file"]


@semantics("S8.3")
def test_a_tree_moves_with_what_is_open_in_it(disk: Mount, work: Path, stored: Stored, opened: Open) -> None:
    old, new = work / "old", work / "new"
    (old / "a" / "empty").mkdir(parents=True)
    (old / "a" / "file").write_bytes(b"content")
    (old / "link").symlink_to("a/file")
    (old / "edited").write_bytes(b"old text")
    dirty = opened(old / "dirty", os.O_CREAT | os.O_RDWR)
    os.write(dirty, b"before ")
    edited = opened(old / "edited", os.O_RDWR)
    os.pwrite(edited, b"new", 0)
    old.rename(new)
    os.write(dirty, b"after")
    assert (new / "dirty").read_bytes() == b"before after"
    os.close(dirty)
    os.close(edited)
    assert stored.bytes(new / "dirty") == b"before after"
    assert stored.bytes(old / "dirty") is None
    disk.remount()
    assert os.listdir(work) == ["new"]
    assert sorted(os.listdir(new)) == ["a", "dirty", "edited", "link"]
    assert sorted(os.listdir(new / "a")) == ["empty", "file"]
    assert (new / "link").read_bytes() == b"content"
    assert (new / "edited").read_bytes() == b"new text"


@semantics("S8.4")
def test_what_replaces_what(work: Path) -> None:
    for name in ("directory", "empty", "full"):
        (work / name).mkdir()
    (work / "directory" / "inside").write_bytes(b"x")
    (work / "full" / "file").write_bytes(b"x")
    (work / "file").write_bytes(b"x")
    with fails_with(errno.ENOTEMPTY):
        os.rename(work / "directory", work / "full")
    with fails_with(errno.ENOTDIR):
        os.rename(work / "directory", work / "file")
    with fails_with(errno.EISDIR):
        os.rename(work / "file", work / "empty")
    with fails_with(errno.EINVAL):
        os.rename(work / "directory", work / "directory" / "below")
    with fails_with(errno.ENOTEMPTY):
        os.rename(work / "full" / "file", work / "full")
    os.rename(work / "directory", work / "empty")
    assert os.listdir(work / "empty") == ["inside"]
    assert sorted(os.listdir(work)) == ["empty", "file", "full"]


@semantics("S8.5")
def test_noreplace(work: Path) -> None:
    for name in ("one", "two"):
        (work / name).write_bytes(name.encode())
    (work / "directory").mkdir()
    for existing in ("two", "directory"):
        with fails_with(errno.EEXIST):
            linux.renameat2(work / "one", work / existing, linux.RENAME_NOREPLACE)
    linux.renameat2(work / "one", work / "three", linux.RENAME_NOREPLACE)
    assert (work / "three").read_bytes() == b"one"
    assert (work / "two").read_bytes() == b"two"


@semantics("S8.6", "S8.10")
def test_exchange(disk: Mount, work: Path, stored: Stored) -> None:
    before = stored.private()
    for name in ("file1", "file2"):
        (work / name).write_bytes(name.encode())
    for name in ("dir1", "dir2"):
        (work / name / "sub").mkdir(parents=True)
        (work / name / "sub" / name).write_bytes(name.encode())
    linux.renameat2(work / "file1", work / "file2", linux.RENAME_EXCHANGE)
    linux.renameat2(work / "dir1", work / "dir2", linux.RENAME_EXCHANGE)
    linux.renameat2(work / "file1", work / "dir1", linux.RENAME_EXCHANGE)
    for _ in range(2):
        assert (work / "file2").read_bytes() == b"file1"
        assert (work / "dir1").read_bytes() == b"file2"
        assert (work / "dir2" / "sub" / "dir1").read_bytes() == b"dir1"
        assert (work / "file1" / "sub" / "dir2").read_bytes() == b"dir2"
        disk.remount()
    with fails_with(errno.ENOENT):
        linux.renameat2(work / "file1", work / "missing", linux.RENAME_EXCHANGE)
    with fails_with(errno.EINVAL):
        linux.renameat2(work / "file1", work / "file1" / "sub", linux.RENAME_EXCHANGE)
    assert stored.private() == before


@semantics("S8.7")
def test_whiteout(work: Path) -> None:
    (work / "file").write_bytes(b"x")
    with fails_with(errno.EINVAL):
        linux.renameat2(work / "file", work / "other", linux.RENAME_WHITEOUT)
    assert os.listdir(work) == ["file"]


@semantics("S8.8")
@pytest.mark.parametrize("existing", [False, True])
def test_a_dirty_file_is_stored_under_its_new_name(
    disk: Mount, work: Path, stored: Stored, opened: Open, existing: bool
) -> None:
    old, new = work / "old", work / "new"
    if existing:
        new.write_bytes(b"to be replaced")
    descriptor = opened(old, os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"content")
    old.rename(new)
    assert new.read_bytes() == b"content"
    os.close(descriptor)
    assert stored.bytes(new) == b"content"
    assert stored.bytes(old) is None
    disk.remount()
    assert os.listdir(work) == ["new"]


@semantics("S8.9")
def test_a_crash_while_a_tree_is_copied_loses_nothing(mounts: MakeMount) -> None:
    mount = mounts(native=False)
    for delay in (0.01, 0.05):
        old, new = mount.workspace / f"old{delay}", mount.workspace / f"new{delay}"
        old.mkdir()
        for i in range(80):
            (old / f"{i}").write_bytes(f"content {i}".encode())
        mover = threading.Thread(target=_rename_until_it_dies, args=(old, new))
        mover.start()
        time.sleep(delay)
        mount.kill9()
        mover.join()
        mount.start()
        for i in range(80):
            found = [place / f"{i}" for place in (old, new) if (place / f"{i}").exists()]
            assert found, f"{i} is under neither name"
            assert {path.read_bytes() for path in found} == {f"content {i}".encode()}
        if old.exists():
            old.rename(new)
        time.sleep(
            1.1
        )  # for so long the kernel may know a name to be absent that was asked for under the old one
        assert {path.name: path.read_bytes() for path in new.iterdir()} == {
            f"{i}": f"content {i}".encode() for i in range(80)
        }


def _rename_until_it_dies(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise


@semantics("S8.11")
def test_renaming_a_link_over_its_brother_does_nothing(work: Path) -> None:
    (work / "one").write_bytes(b"content")
    os.link(work / "one", work / "two")
    os.rename(work / "one", work / "two")
    assert sorted(os.listdir(work)) == ["one", "two"]
    assert (work / "one").stat().st_nlink == 2
