"""Chapter 9: files without a name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, eventually

BOTH_STORES = True

MIB = 1 << 20


def _unlink(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    temporary = path.with_name("temporary")
    temporary.write_bytes(b"the new one")
    temporary.rename(path)


LOSE_THE_NAME = pytest.mark.parametrize("lose_the_name", [_unlink, _replace], ids=["unlinked", "replaced"])


@LOSE_THE_NAME
@semantics("S9.1", "S9.2")
def test_holders_keep_a_stored_file(
    disk: Mount, work: Path, opened: Open, lose_the_name: Callable[[Path], None]
) -> None:
    path = work / "file"
    content = os.urandom(3 * MIB)
    path.write_bytes(content)
    disk.remount()
    reader, writer = opened(path, os.O_RDONLY), opened(path, os.O_RDWR)
    number = os.fstat(reader).st_ino
    lose_the_name(path)
    assert (os.fstat(reader).st_ino, os.fstat(reader).st_nlink) == (number, 0)
    assert os.pread(reader, len(content), 0) == content
    os.pwrite(writer, b"edited", MIB)
    os.fchmod(writer, 0o600)
    os.fsync(writer)
    os.ftruncate(writer, 2 * MIB)
    assert os.pread(reader, 6, MIB) == b"edited"
    assert os.pread(reader, len(content), 2 * MIB) == b""
    os.close(writer)
    assert os.pread(reader, MIB, 0) == content[:MIB]


@semantics("S9.1")
def test_the_name_is_free_at_once(work: Path, opened: Open) -> None:
    path = work / "file"
    descriptor = opened(path, os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"old")
    path.unlink()
    assert os.listdir(work) == []
    path.write_bytes(b"new")
    assert path.stat().st_ino != os.fstat(descriptor).st_ino
    assert os.pread(descriptor, 10, 0) == b"old"
    os.close(descriptor)
    assert path.read_bytes() == b"new"


@semantics("S9.1")
def test_a_nameless_file_may_grow(work: Path, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    (work / "file").unlink()
    block = os.urandom(MIB)
    for _ in range(40):
        os.write(descriptor, block)
    assert os.fstat(descriptor).st_size == 40 * MIB
    for i in (0, 20, 39):
        assert os.pread(descriptor, MIB, i * MIB) == block
    os.pwrite(descriptor, b"edited", 20 * MIB)
    os.fsync(descriptor)
    assert os.pread(descriptor, 6, 20 * MIB) == b"edited"


@LOSE_THE_NAME
@semantics("S9.3")
def test_orphans_are_deleted_with_the_last_close(
    work: Path, stored: Stored, opened: Open, lose_the_name: Callable[[Path], None]
) -> None:
    before = stored.private()
    path = work / "file"
    content = os.urandom(20 * MIB)
    path.write_bytes(content)
    descriptor = opened(path, os.O_RDWR)
    lose_the_name(path)
    orphans = stored.private("orphans") - before
    assert [orphan.stat().st_size for orphan in orphans] == [len(content)]
    os.close(descriptor)
    eventually(lambda: stored.private() == before, "the orphan is deleted")


@semantics("S9.4")
def test_after_a_crash_orphans_are_not_shown(disk: Mount, work: Path, opened: Open) -> None:
    path = work / "file"
    path.write_bytes(os.urandom(MIB))
    opened(path, os.O_RDWR)
    path.unlink()
    disk.crash_and_restart()
    assert os.listdir(work) == []
    assert sorted(os.listdir(disk.root)) == ["memory", "workspace"]


@semantics("S9.5")
def test_a_file_that_never_had_its_name_at_a_close_leaves_nothing(work: Path, stored: Stored) -> None:
    before = stored.private()
    descriptor = os.open(work / "file", os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"scratch")
    (work / "file").unlink()
    os.close(descriptor)
    assert stored.bytes(work / "file") is None
    eventually(lambda: stored.private() == before, "nothing is left behind")
