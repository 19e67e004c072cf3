"""Chapter 4: durability. The daemon is killed, as by the OOM killer; what was acknowledged must be there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.model import linux
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, fails_with

BOTH_STORES = True

MIB = 1 << 20


@semantics("S4.1")
@pytest.mark.parametrize("size", [0, 10, 100_000, 20 * MIB])
def test_close_means_stored(disk: Mount, work: Path, stored: Stored, size: int) -> None:
    content = os.urandom(size)
    descriptor = os.open(work / "file", os.O_CREAT | os.O_WRONLY, 0o640)
    os.write(descriptor, content)
    os.close(descriptor)
    assert stored.bytes(work / "file") == content
    assert int(stored.metadata(work / "file")["mode"]) == stat.S_IFREG | 0o640
    disk.crash_and_restart()
    assert (work / "file").read_bytes() == content


@semantics("S4.1")
def test_every_close_of_a_duplicate_means_stored(work: Path, stored: Stored, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"one")
    os.close(os.dup(descriptor))
    assert stored.bytes(work / "file") == b"one"
    os.write(descriptor, b" two")
    os.close(descriptor)
    assert stored.bytes(work / "file") == b"one two"


@semantics("S4.2")
@pytest.mark.parametrize("sync", [os.fsync, os.fdatasync])
def test_fsync_means_stored(disk: Mount, work: Path, opened: Open, sync: Callable[[int], None]) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(descriptor, b"first ")
    os.fchmod(descriptor, 0o604)
    sync(descriptor)
    os.write(descriptor, b"second ")
    os.fsync(descriptor)
    os.write(descriptor, b"third")
    disk.crash_and_restart()
    assert (work / "file").read_bytes() == b"first second "
    assert stat.S_IMODE((work / "file").stat().st_mode) == 0o604


@semantics("S4.3")
def test_a_file_never_closed_does_not_survive(disk: Mount, work: Path, opened: Open) -> None:
    os.write(opened(work / "never-closed", os.O_CREAT | os.O_WRONLY), b"x")
    os.fsync(opened(work / "synced", os.O_CREAT | os.O_WRONLY))
    opened(work / "empty", os.O_CREAT | os.O_WRONLY)
    assert sorted(os.listdir(work)) == ["empty", "never-closed", "synced"]
    disk.crash_and_restart()
    assert os.listdir(work) == ["synced"]


@semantics("S4.4")
def test_names_are_durable_when_the_call_returns(disk: Mount, work: Path) -> None:
    for name in ("removed", "renamed", "kept"):
        (work / name).write_bytes(name.encode())
    (work / "removed-directory").mkdir()
    disk.remount()
    (work / "directory").mkdir(0o750)
    (work / "removed-directory").rmdir()
    (work / "symlink").symlink_to("target")
    os.mkfifo(work / "fifo", 0o640)
    (work / "removed").unlink()
    (work / "renamed").rename(work / "new-name")
    disk.crash_and_restart()
    assert sorted(os.listdir(work)) == ["directory", "fifo", "kept", "new-name", "symlink"]
    assert stat.S_IMODE((work / "directory").stat().st_mode) == 0o750
    assert os.readlink(work / "symlink") == "target"
    assert stat.filemode((work / "fifo").stat().st_mode) == "prw-r-----"
    assert (work / "new-name").read_bytes() == b"renamed"


@semantics("S4.5")
def test_attributes_of_a_closed_file_are_durable_at_once(disk: Mount, work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"0123456789")
    os.setxattr(path, "user.gone", b"x")
    path.chmod(0o4711)
    os.truncate(path, 5)
    os.chown(path, 1, 2)
    path.chmod(0o751)
    os.setxattr(path, "user.kept", b"value")
    os.removexattr(path, "user.gone")
    os.utime(path, ns=(1_111_111_111, 2_222_222_222))
    disk.crash_and_restart()
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o751, 1, 2)
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_111_111_111, 2_222_222_222)
    assert path.read_bytes() == b"01234"
    assert os.listxattr(path) == ["user.kept"]


@semantics("S4.6")
def test_attributes_of_a_dirty_file_are_durable_with_its_commit(
    disk: Mount, work: Path, opened: Open
) -> None:
    for name in ("closed", "synced"):
        descriptor = opened(work / name, os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(descriptor, b"content")
        (work / name).chmod(0o755)
        os.chown(work / name, 5, 6)
        os.setxattr(work / name, "user.a", b"b")
        os.utime(work / name, ns=(3, 4))
        (os.close if name == "closed" else os.fsync)(descriptor)
    disk.crash_and_restart()
    for name in ("closed", "synced"):
        status = (work / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 5, 6)
        assert (status.st_atime_ns, status.st_mtime_ns) == (3, 4)
        assert os.getxattr(work / name, "user.a") == b"b"


@semantics("S4.7")
def test_truncate_and_write_replaces_in_one_step(disk: Mount, work: Path, opened: Open) -> None:
    path = work / "file"
    path.write_bytes(b"old content")
    descriptor = opened(path, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, b"new")
    assert path.read_bytes() == b"new"
    disk.crash_and_restart()
    assert path.read_bytes() == b"old content"
    path.write_bytes(b"new")
    disk.crash_and_restart()
    assert path.read_bytes() == b"new"


@semantics("S4.8")
def test_a_crash_leaves_the_last_commit_whole(disk: Mount, work: Path, opened: Open) -> None:
    path = work / "file"
    first = os.urandom(20 * MIB)
    path.write_bytes(first)
    descriptor = opened(path, os.O_RDWR)
    for offset in (0, 9 * MIB, 19 * MIB):
        os.pwrite(descriptor, b"committed", offset)
    os.fsync(descriptor)
    second = bytearray(first)
    for offset in (0, 9 * MIB, 19 * MIB):
        second[offset : offset + 9] = b"committed"
        os.pwrite(descriptor, b"forgotten", offset)
    os.ftruncate(descriptor, 3 * MIB)
    disk.crash_and_restart()
    assert path.read_bytes() == second


@semantics("S4.9")
def test_under_memory_pressure_a_file_has_a_content_it_once_had(mounts: MakeMount, opened: Open) -> None:
    mount = mounts(ram_limit="16M", env=(("AGENTFS_PART_SIZE", "1M"),))
    path = mount.workspace / "file"
    path.write_bytes(b"old content")
    descriptor = opened(path, os.O_WRONLY | os.O_TRUNC)
    blocks = [bytes([i]) * 65536 for i in range(256)]
    for block in blocks * 3:
        os.write(descriptor, block)
    mount.kill9()
    mount.start()
    found = path.read_bytes()
    written = b"".join(blocks * 3)
    assert found == b"old content" or written.startswith(found)


@semantics("S4.10")
def test_a_failed_commit_sticks_to_the_file(small_store: Path, mounts: MakeMount) -> None:
    mount = mounts(store=small_store)
    mount.expect_log("No space|ENOSPC|upload failed")
    path = mount.workspace / "file"
    path.write_bytes(b"what fits")
    descriptor = os.open(path, os.O_RDWR | os.O_TRUNC)
    other = os.open(path, os.O_RDWR)
    os.write(descriptor, os.urandom(12 * MIB))
    with fails_with(errno.ENOSPC):
        os.fsync(descriptor)
    for _ in range(2):
        with fails_with(errno.ENOSPC):
            os.write(descriptor, b"more")
        with fails_with(errno.ENOSPC):
            os.fsync(other)
    with fails_with(errno.ENOSPC):
        os.close(descriptor)
    with fails_with(errno.ENOSPC):
        os.close(other)
    assert path.read_bytes() == b"what fits"
    path.write_bytes(b"and it goes on")
    assert path.read_bytes() == b"and it goes on"


@semantics("S4.11")
def test_a_crash_leaves_no_debris(disk: Mount, work: Path, opened: Open) -> None:
    (work / "kept").write_bytes(b"kept")
    for i in range(5):
        descriptor = opened(work / f"file{i}", os.O_CREAT | os.O_RDWR)
        os.write(descriptor, os.urandom(18 * MIB))
    opened(work / "kept", os.O_RDWR)
    (work / "kept").unlink()
    disk.crash_and_restart()
    assert sorted(os.listdir(disk.root)) == ["memory", "workspace"]
    assert os.listdir(work) == []


@semantics("S4.12")
def test_closing_a_reader_stores_nothing(work: Path, stored: Stored, opened: Open) -> None:
    writer = opened(work / "file", os.O_CREAT | os.O_WRONLY)
    os.write(writer, b"dirty")
    os.close(os.open(work / "file", os.O_RDONLY))
    assert stored.bytes(work / "file") is None
    os.close(writer)
    assert stored.bytes(work / "file") == b"dirty"


@semantics("S4.13")
def test_sync_does_not_reach_the_mount(work: Path, stored: Stored, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"dirty")
    linux.syncfs(descriptor)
    assert stored.bytes(work / "file") is None


@semantics("S4.14")
def test_fsync_of_a_directory_stores_its_times(disk: Mount, work: Path, opened: Open) -> None:
    os.utime(work, ns=(1, 1))
    (work / "entry").write_bytes(b"")
    moved = work.stat().st_mtime_ns
    descriptor = opened(work, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    disk.crash_and_restart()
    assert work.stat().st_mtime_ns == moved
    assert os.listdir(work) == ["entry"]
