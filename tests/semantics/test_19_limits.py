"""Chapter 19: limits."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from tests.conftest import MakeMount
from tests.fakes import MemoryStore
from tests.memory_store import S3_LIKE
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import fails_with
from vfs.config import Config
from vfs.core import inodes
from vfs.core.filesystem import FileSystem
from vfs.types import Attr, Caller, ETag

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40

PART = 8 * MIB
RAM = 32 * MIB
BESIDE_FILE_DATA = 120 * MIB


@semantics("S19.1")
def test_the_largest_file(work: Path, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    for call in (
        lambda: os.ftruncate(descriptor, 5 * TIB + 1),
        lambda: os.pwrite(descriptor, b"x", 5 * TIB),
        lambda: os.truncate(work / "file", 5 * TIB + 1),
    ):
        with fails_with(errno.EFBIG):
            call()
    longest_hole = 9_999 * PART
    with fails_with(errno.EFBIG):
        os.ftruncate(descriptor, longest_hole + 1)
    with fails_with(errno.EFBIG):
        os.pwrite(descriptor, b"x", longest_hole + 1)
    os.ftruncate(descriptor, longest_hole)
    assert os.fstat(descriptor).st_size == longest_hole
    assert os.pread(descriptor, 10, longest_hole // 2) == bytes(10)
    os.ftruncate(descriptor, 0)


@semantics("S19.1")
def test_a_file_outgrows_the_parts_of_one_upload(tmp_path: Path) -> None:
    """Without a kernel, on a store whose uploads take 40 parts: 10,000 would be 78 GiB."""
    few_parts = replace(S3_LIKE, max_parts=40)
    config = Config(tmp_path, "u1", part_size=64 * KIB, ram_limit=2 * MIB)
    caller = Caller(0, 0, 1)

    async def scenario() -> None:
        fs = FileSystem(MemoryStore(few_parts), config)
        async with fs.running():
            top = await fs.lookup(inodes.ROOT, b"workspace")
            assert top is not None
            handle, _ = await fs.create(top.ino, b"file", 0o644, os.O_RDWR, caller)
            expected = bytearray()
            for i in range(200):
                data = bytes([i]) * 50_000
                await fs.write(handle.fh, len(expected), data)
                expected += data
            await fs.flush(handle.fh)
            for at in (10, 5_000_000, 9_999_000):
                await fs.write(handle.fh, at, b"edited")
                expected[at : at + 6] = b"edited"
            for at in range(0, 1_000_000, 50_000):
                await fs.write(handle.fh, at, b"r" * 50_000)
                expected[at : at + 50_000] = b"r" * 50_000
            await fs.fsync(handle.fh)
            stored = await fs.store.get(fs.layout.file_key("workspace/file"))
            assert bytes(stored.data) == bytes(expected)
            await fs.release(handle.fh)

    trio.run(scenario)


@semantics("S19.2")
def test_ram_is_bounded_and_writers_wait(mounts: MakeMount) -> None:
    mount = mounts(ram_limit="32M")
    block = os.urandom(MIB)
    failures: list[OSError] = []

    def write(path: Path) -> None:
        try:
            with path.open("wb", buffering=0) as file:
                for _ in range(32):
                    file.write(block)
        except OSError as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(mount.workspace / f"{i}",)) for i in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert mount.status_kib("VmHWM") * KIB < RAM + BESIDE_FILE_DATA
    for i in range(8):
        with (mount.workspace / f"{i}").open("rb", buffering=0) as file:
            assert all(file.read(MIB) == block for _ in range(32))
    assert mount.status_kib("VmHWM") * KIB < RAM + BESIDE_FILE_DATA


@semantics("S19.3")
def test_a_file_larger_than_ram(mounts: MakeMount, opened: Open) -> None:
    mount = mounts(ram_limit="32M")
    path = mount.workspace / "file"
    count = 200
    expected = [hashlib.blake2b(bytes([i])).digest() * (MIB // 64) for i in range(count)]
    descriptor = opened(path, os.O_CREAT | os.O_RDWR)
    for block in expected:
        os.write(descriptor, block)
    for i in (0, 1, 100, 199):
        assert os.pread(descriptor, MIB, i * MIB) == expected[i]
    os.close(descriptor)
    mount.remount()
    descriptor = opened(path, os.O_RDWR)
    for i in (3, 150, 77):
        expected[i] = os.urandom(MIB)
        os.pwrite(descriptor, expected[i], i * MIB)
    os.close(descriptor)
    mount.remount()
    with path.open("rb", buffering=0) as file:
        assert all(file.read(MIB) == block for block in expected)
    assert mount.status_kib("VmHWM") * KIB < RAM + BESIDE_FILE_DATA


@semantics("S19.4")
def test_open_files_are_counted(mounts: MakeMount, opened: Open) -> None:
    mount = mounts(env=(("AGENTFS_MAX_HANDLES", "50"),))
    path = mount.workspace / "file"
    path.write_bytes(b"content")
    descriptors = [opened(path, os.O_RDONLY) for _ in range(50)]
    with fails_with(errno.ENFILE):
        os.open(path, os.O_RDONLY)
    os.close(descriptors[0])
    assert path.read_bytes() == b"content"


@semantics("S19.5")
def test_linked_files_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the table itself: to make 65,536 links would take minutes."""
    assert inodes.MAX_LINKED == 65_536
    monkeypatch.setattr(inodes, "MAX_LINKED", 10)
    attr = Attr(stat.S_IFDIR | 0o755, 0, 0, 0, 0, 0, 0)
    table = inodes.InodeTable(attr)
    made = []
    for i in range(20):
        inode = table.add(table.root, f"{i}", replace(attr, mode=stat.S_IFREG | 0o644), ETag("x"))
        table.link(inode, table.root, f"{i}-link", inode.etag)
        table.remember(inode)
        made.append(inode)
    in_use, idle = made[:2], made[2:]
    for inode in idle:
        table.forget(inode.ino, 1)
    assert [inode.nlink for inode in in_use] == [2, 2]
    assert sum(inode.nlink == 2 for inode in made) == 10
    assert [inode.nlink for inode in idle[-8:]] == [2] * 8
    table.check()


@semantics("S19.6")
def test_no_file_data_on_the_local_disk(mounts: MakeMount) -> None:
    mount = mounts(ram_limit="32M")
    secret = os.urandom(64)
    (mount.workspace / "file").write_bytes(secret * (100 * MIB // 64))
    assert (mount.workspace / "file").read_bytes()[:64] == secret
    outside = [path for path in mount.base.rglob("*") if path.is_file() and not _of(path, mount.store_dir)]
    beside = [path for path in outside if not _of(path, mount.root)]
    assert all(secret not in path.read_bytes() for path in beside)
    held = [Path(f"/proc/{mount.pid}/fd/{name}") for name in os.listdir(f"/proc/{mount.pid}/fd")]
    files = [descriptor.readlink() for descriptor in held if descriptor.is_file()]
    allowed = (mount.store_dir, mount.log, mount.output)
    assert [path for path in files if not any(_of(path, place) for place in allowed)] == []


def _of(path: Path, top: Path) -> bool:
    return path.is_relative_to(top)
