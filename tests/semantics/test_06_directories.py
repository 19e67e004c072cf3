"""Chapter 6: directories."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, fails_with, python


@semantics("S6.1")
def test_empty_directories_persist(disk: Mount, work: Path) -> None:
    (work / "a" / "b" / "c").mkdir(parents=True)
    (work / "emptied").mkdir()
    (work / "emptied" / "file").write_bytes(b"x")
    (work / "emptied" / "file").unlink()
    disk.remount()
    assert (work / "a" / "b" / "c").is_dir()
    assert os.listdir(work / "emptied") == []


@semantics("S6.2")
def test_removing_needs_the_right_call_and_an_empty_directory(work: Path) -> None:
    (work / "full" / "inner").mkdir(parents=True)
    (work / "file").write_bytes(b"x")
    with fails_with(errno.ENOTEMPTY):
        (work / "full").rmdir()
    with fails_with(errno.ENOTDIR):
        (work / "file").rmdir()
    with fails_with(errno.EISDIR):
        os.unlink(work / "full")
    (work / "full" / "inner").rmdir()
    (work / "full").rmdir()
    assert os.listdir(work) == ["file"]


@semantics("S6.2")
def test_a_directory_that_only_others_filled_is_not_empty(work: Path, stored: Stored) -> None:
    (work / "directory").mkdir()
    stored.put(work / "directory" / "by-another", b"x")
    with fails_with(errno.ENOTEMPTY):
        (work / "directory").rmdir()
    assert stored.bytes(work / "directory" / "by-another") == b"x"


@semantics("S6.3")
def test_a_listing_is_a_snapshot(disk: Mount, work: Path, stored: Stored) -> None:
    before = [f"file-{i:04}" for i in range(1_500)]
    for name in before:
        stored.put(work / name, b"")
    disk.remount()
    with os.scandir(work) as entries:
        seen = [next(entries).name for _ in range(10)]
        for i in range(0, 1_500, 3):
            (work / before[i]).unlink()
        for i in range(200):
            os.mknod(work / f"aa-new-{i}")
        (work / before[1]).rename(work / "zz-renamed")
        seen += [entry.name for entry in entries]
    assert len(seen) == len(set(seen))
    assert set(before[2::3]) <= set(seen)
    assert len(os.listdir(work)) == 1_200


@semantics("S6.3")
def test_rewinding_takes_a_new_snapshot(work: Path, opened: Open) -> None:
    os.mknod(work / "old")
    descriptor = opened(work, os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(descriptor) == ["old"]
    os.mknod(work / "new")
    assert sorted(os.listdir(descriptor)) == ["new", "old"]  # listdir(fd) rewinds first


@semantics("S6.5")
def test_a_directory_outlives_its_last_entry(disk: Mount, work: Path, stored: Stored) -> None:
    for name in ("removed", "moved"):
        stored.put(work / name / "only", b"x")
    disk.remount()
    (work / "removed" / "only").unlink()
    (work / "moved" / "only").rename(work / "elsewhere")
    assert sorted(os.listdir(work)) == ["elsewhere", "moved", "removed"]
    disk.remount()
    assert sorted(os.listdir(work)) == ["elsewhere", "moved", "removed"]
    assert os.listdir(work / "removed") == []


@semantics("S6.6")
def test_entries_move_the_times_of_their_directory(work: Path) -> None:
    other = work / "other"
    other.mkdir()
    changes = (
        lambda: (work / "file").write_bytes(b"x"),
        (work / "directory").mkdir,
        lambda: (work / "symlink").symlink_to("x"),
        lambda: os.link(work / "file", work / "hardlink"),
        lambda: (work / "file").rename(work / "renamed"),
        lambda: (work / "renamed").rename(other / "moved"),
        (work / "hardlink").unlink,
        (work / "directory").rmdir,
    )
    for i, change in enumerate(changes):
        os.utime(work, ns=(1, 1))
        changed = work.stat().st_ctime_ns
        time.sleep(0.001)
        change()
        after = work.stat()
        assert after.st_mtime_ns > 10**18, f"change {i}"
        assert after.st_ctime_ns > changed, f"change {i}"
    assert other.stat().st_mtime_ns >= other.stat().st_atime_ns


@semantics("S6.6")
def test_writing_to_a_file_leaves_its_directory(work: Path) -> None:
    (work / "file").write_bytes(b"x")
    os.utime(work, ns=(1, 1))
    (work / "file").write_bytes(b"y")
    (work / "file").chmod(0o600)
    assert work.stat().st_mtime_ns == 1


@semantics("S6.7")
def test_when_directory_times_are_stored(disk: Mount, work: Path) -> None:
    os.utime(work, ns=(1, 2))
    disk.crash_and_restart()
    assert work.stat().st_mtime_ns == 2
    (work / "file").write_bytes(b"x")
    moved = work.stat().st_mtime_ns
    assert moved > 2
    disk.remount()
    assert work.stat().st_mtime_ns == moved


@semantics("S6.8")
def test_a_listing_gives_types_and_inode_numbers(work: Path) -> None:
    (work / "file").write_bytes(b"x")
    (work / "directory").mkdir()
    (work / "symlink").symlink_to("directory")
    os.mkfifo(work / "fifo")
    with os.scandir(work) as entries:
        found = {entry.name: entry for entry in entries}
    assert found["file"].is_file(follow_symlinks=False)
    assert found["directory"].is_dir(follow_symlinks=False)
    assert found["symlink"].is_symlink()
    assert not found["fifo"].is_file(follow_symlinks=False)
    for name, entry in found.items():
        assert entry.inode() == os.lstat(work / name).st_ino


@semantics("S6.9")
def test_a_removed_working_directory(work: Path) -> None:
    (work / "gone").mkdir()
    program = """
os.chdir(sys.argv[1])
os.rmdir(sys.argv[1])
print(os.listdir("."), end=" ")
open("file", "w")
"""
    assert python(program, work / "gone") == "[] ENOENT"


@semantics("S6.10")
def test_every_process_sees_a_change_at_once(work: Path) -> None:
    look = "print(*sorted(os.listdir(sys.argv[1])), os.path.exists(sys.argv[1] + '/one'))"
    assert python(look, work) == "False"
    (work / "one").write_bytes(b"x")
    assert python(look, work) == "one True"
    (work / "one").rename(work / "two")
    assert python(look, work) == "two False"
    (work / "two").unlink()
    assert python(look, work) == "False"


@semantics("S6.1", "S6.5")
def test_the_top_directories_exist_on_a_store_that_others_filled(mounts: MakeMount) -> None:
    mount = mounts(started=False)
    mount.user_dir.mkdir(parents=True)
    (mount.user_dir / "memory").mkdir()
    (mount.user_dir / "memory" / "facts.json").write_bytes(b"{}")
    mount.start()
    assert (mount.memory / "facts.json").read_bytes() == b"{}"
    assert os.listdir(mount.workspace) == []
