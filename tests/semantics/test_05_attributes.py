"""Chapter 5: attributes and times."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from tests.model import linux
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored

ATIME, MTIME = 1_234_567_890_123_456_789, 987_654_321_987_654_321


@semantics("S5.1")
def test_attributes_persist(disk: Mount, work: Path) -> None:
    (work / "file").write_bytes(b"x")
    (work / "directory").mkdir()
    for path in (work / "file", work / "directory"):
        os.chown(path, 1234, 4_000_000_000)
        path.chmod(0o2751)
        os.utime(path, ns=(ATIME, MTIME))
    disk.remount()
    for path in (work / "file", work / "directory"):
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4_000_000_000, 0o2751)
        assert (status.st_atime_ns, status.st_mtime_ns) == (ATIME, MTIME)


@semantics("S5.2")
def test_attributes_are_stored_as_s3fs_stores_them(work: Path, stored: Stored) -> None:
    path = work / "file"
    path.write_bytes(b"x")
    os.chown(path, 1000, 100)
    path.chmod(0o640)
    os.utime(path, ns=(5_000_000_000, 7_000_000_000))
    meta = stored.metadata(path)
    assert meta["mode"] == str(0o100640)
    assert (meta["uid"], meta["gid"]) == ("1000", "100")
    assert (meta["mtime"], meta["atime"]) == ("7", "5")
    os.utime(path, ns=(MTIME, MTIME))
    meta = stored.metadata(path)
    assert meta["mtime"] == "987654321.987654321"
    assert "atime" not in meta
    assert "ctime" in meta


@semantics("S5.3")
def test_objects_of_others_belong_to_the_user_who_mounted(disk: Mount, work: Path, stored: Stored) -> None:
    stored.put(work / "implied" / "by-another.txt", b"not ours")
    stored_at = stored.path(work / "implied" / "by-another.txt").stat().st_mtime_ns
    disk.remount()
    file, directory = (work / "implied" / "by-another.txt").stat(), (work / "implied").stat()
    assert stat.filemode(file.st_mode) == "-rw-r--r--"
    assert stat.filemode(directory.st_mode) == "drwxr-xr-x"
    assert (file.st_uid, file.st_gid, directory.st_uid) == (os.getuid(), os.getgid(), os.getuid())
    assert file.st_mtime_ns == stored_at
    assert (work / "implied" / "by-another.txt").read_bytes() == b"not ours"


@semantics("S5.4")
def test_changing_attributes_moves_ctime_only(work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(ATIME, MTIME))
    changes = {
        "chmod": lambda: path.chmod(0o600),
        "chown": lambda: os.chown(path, 3, 4),
        "setxattr": lambda: os.setxattr(path, "user.a", b"b"),
        "removexattr": lambda: os.removexattr(path, "user.a"),
        "link": lambda: os.link(path, work / "other"),
        "unlink": lambda: os.unlink(work / "other"),
    }
    for what, change in changes.items():
        before = path.stat().st_ctime_ns
        change()
        after = path.stat()
        assert after.st_ctime_ns > before, what
        assert (after.st_atime_ns, after.st_mtime_ns) == (ATIME, MTIME), what


@semantics("S5.5")
def test_writing_moves_mtime_at_the_time_of_the_call(disk: Mount, work: Path, opened: Open) -> None:
    path = work / "file"
    descriptor = opened(path, os.O_CREAT | os.O_RDWR)
    begun = time.time_ns()
    os.write(descriptor, b"x")
    ended = time.time_ns()
    time.sleep(0.05)
    os.close(descriptor)
    status = path.stat()
    assert begun <= status.st_mtime_ns <= ended
    assert begun <= status.st_ctime_ns <= ended
    os.utime(path, ns=(1, 1))
    for change in (lambda: os.truncate(path, 100), lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))):
        begun = time.time_ns()
        change()
        assert path.stat().st_mtime_ns >= begun
        os.utime(path, ns=(1, 1))
    disk.remount()
    assert path.stat().st_mtime_ns == 1


@semantics("S5.5")
def test_mtime_of_the_write_is_what_persists(disk: Mount, work: Path) -> None:
    (work / "file").write_bytes(b"x")
    before = (work / "file").stat()
    disk.remount()
    after = (work / "file").stat()
    assert after.st_mtime_ns == before.st_mtime_ns


@semantics("S5.6")
def test_reading_never_moves_atime(disk: Mount, work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"content")
    os.utime(path, ns=(ATIME, MTIME))
    assert path.read_bytes() == b"content"
    assert path.stat().st_atime_ns == ATIME
    disk.remount()
    assert path.read_bytes() == b"content"
    assert path.stat().st_atime_ns == ATIME


@semantics("S5.7")
def test_setting_times(disk: Mount, work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"x")
    for moment in (0, 1, 999_999_999, 10**9, 4_102_444_800_000_000_001, 2**63 - 1):
        linux.utimensat(path, moment, moment)
        assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (moment, moment)
    linux.utimensat(path, ATIME, MTIME)
    linux.utimensat(path, linux.UTIME_OMIT, 5)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (ATIME, 5)
    begun = time.time_ns() - 10_000_000  # the kernel's clock may be a tick behind
    linux.utimensat(path, linux.UTIME_NOW, linux.UTIME_OMIT)
    assert begun <= path.stat().st_atime_ns <= time.time_ns()
    assert path.stat().st_mtime_ns == 5
    linux.utimensat(path, linux.UTIME_OMIT, linux.UTIME_OMIT)
    assert path.stat().st_mtime_ns == 5
    moment = path.stat().st_atime_ns
    disk.remount()
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (moment, 5)


@semantics("S5.8")
def test_a_time_set_while_writing_survives_the_close(disk: Mount, work: Path) -> None:
    descriptor = os.open(work / "file", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"as tar and cp -p do it")
    os.utime(descriptor, ns=(ATIME, MTIME))
    os.close(descriptor)
    assert (work / "file").stat().st_mtime_ns == MTIME
    disk.remount()
    assert ((work / "file").stat().st_atime_ns, (work / "file").stat().st_mtime_ns) == (ATIME, MTIME)


@semantics("S5.9")
def test_ctime_after_a_remount_is_the_stored_one(disk: Mount, work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 1))
    before = path.stat().st_ctime_ns
    disk.remount()
    assert path.stat().st_ctime_ns == before


@semantics("S5.10")
def test_directories_have_a_link_count_of_1(work: Path) -> None:
    for i in range(3):
        (work / f"d{i}").mkdir()
    assert work.stat().st_nlink == 1
    assert (work / "d0").stat().st_nlink == 1


@semantics("S5.11")
def test_inode_numbers_are_never_dealt_twice(work: Path) -> None:
    seen: set[int] = set()
    for i in range(200):
        path = work / f"file{i % 3}"
        path.write_bytes(b"x")
        number = path.stat().st_ino
        assert number not in seen
        seen.add(number)
        path.unlink()


@semantics("S5.12")
def test_blocks_are_counted_from_the_size(work: Path, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    for size, blocks in ((0, 0), (1, 1), (512, 1), (513, 2), (10_000_000, 19532)):
        os.ftruncate(descriptor, size)
        assert os.fstat(descriptor).st_blocks == blocks


@semantics("S5.13")
def test_stat_shows_a_file_that_is_being_written(work: Path, stored: Stored, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    before = (work / "file").stat()
    os.write(descriptor, b"x" * 12345)
    after = (work / "file").stat()
    assert after.st_size == 12345
    assert after.st_mtime_ns > before.st_mtime_ns
    assert stored.bytes(work / "file") is None
