"""Chapter 18: several mounts of one user, which know of each other only through the store."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, eventually, fails_with

MIB = 1 << 20

QUICK = (("AGENTFS_WORKSPACE_TTL", "0.5"), ("AGENTFS_MEMORY_TTL", "0.5"), ("AGENTFS_NEGATIVE_TTL", "0.5"))
"""Knowledge expires after half a second, so that the tests need not wait for minutes."""


@pytest.fixture
def pair(mounts: MakeMount) -> tuple[Mount, Mount]:
    one = mounts(env=QUICK)
    return one, mounts(store=one.store_dir, env=QUICK)


@semantics("S18.1")
def test_what_another_mount_stored_is_seen_soon(pair: tuple[Mount, Mount]) -> None:
    one, two = (mount.workspace for mount in pair)
    (one / "file").write_bytes(b"first")
    eventually((two / "file").exists, "the new file")
    assert (two / "file").read_bytes() == b"first"
    (one / "file").write_bytes(b"second, longer")
    eventually(lambda: (two / "file").read_bytes() == b"second, longer", "the new content")
    (one / "file").chmod(0o600)
    eventually(lambda: (two / "file").stat().st_mode & 0o777 == 0o600, "the new mode")
    (one / "directory").mkdir()
    eventually(lambda: "directory" in os.listdir(two), "the new directory")
    (one / "file").unlink()
    eventually(lambda: not (two / "file").exists() and "file" not in os.listdir(two), "the removal")


@semantics("S18.2")
def test_objects_stored_directly_are_seen(pair: tuple[Mount, Mount]) -> None:
    mount, _ = pair
    path = mount.workspace / "uploads" / "report.txt"
    assert not path.exists()
    Stored(mount).put(path, b"by another program")
    eventually(path.exists, "the object")
    assert path.read_bytes() == b"by another program"
    Stored(mount).put(path, b"edited by another program")
    eventually(lambda: path.read_bytes() == b"edited by another program", "the new content")


@semantics("S18.3")
def test_when_two_mounts_wrote_the_last_close_wins_and_nothing_is_lost(
    pair: tuple[Mount, Mount], opened: Open
) -> None:
    one, two = pair
    for mount in pair:
        mount.expect_log("changed elsewhere")
    (one.workspace / "file").write_bytes(b"base")
    eventually((two.workspace / "file").exists, "the file")
    first = opened(one.workspace / "file", os.O_WRONLY | os.O_APPEND)
    second = opened(two.workspace / "file", os.O_WRONLY | os.O_APPEND)
    os.write(first, b" and first")
    os.write(second, b" and second")
    os.close(first)
    os.close(second)
    place = Stored(one).path(one.workspace)
    assert (place / "file").read_bytes() == b"base and second"
    kept = [path for path in place.iterdir() if path.name.startswith("file.conflict-")]
    assert [path.read_bytes() for path in kept] == [b"base and first"]
    eventually(lambda: kept[0].name in os.listdir(one.workspace), "the conflict is shown")
    eventually(lambda: (one.workspace / "file").read_bytes() == b"base and second", "the winner")


@semantics("S18.4")
def test_a_reader_never_mixes_versions(pair: tuple[Mount, Mount], opened: Open) -> None:
    one, two = pair
    size = 24 * MIB
    (one.workspace / "file").write_bytes(b"a" * size)
    eventually((two.workspace / "file").exists, "the file")
    reader = opened(two.workspace / "file", os.O_RDONLY)
    assert os.pread(reader, 4096, 0) == b"a" * 4096
    (one.workspace / "file").write_bytes(b"b" * size)
    with fails_with(errno.ESTALE):
        for offset in range(0, size, MIB):
            assert set(os.pread(reader, MIB, offset)) == {ord("a")}
    os.close(reader)
    eventually(lambda: (two.workspace / "file").read_bytes() == b"b" * size, "the new version")


@semantics("S18.5")
def test_mounts_that_write_different_files_do_not_disturb_each_other(pair: tuple[Mount, Mount]) -> None:
    one, two = (mount.workspace for mount in pair)
    (one / "directory").mkdir()
    eventually((two / "directory").is_dir, "the directory")
    failures: list[BaseException] = []

    def work(directory: Path, who: str) -> None:
        try:
            for i in range(60):
                path = directory / f"{who}-{i}"
                path.write_bytes(f"{who} {i}".encode())
                path.rename(directory / f"{who}-renamed-{i}")
                if i % 2:
                    (directory / f"{who}-renamed-{i}").unlink()
        except BaseException as error:
            failures.append(error)
            raise

    workers = [
        threading.Thread(target=work, args=(top / "directory", who)) for top, who in ((one, "a"), (two, "b"))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    expected = {f"{who}-renamed-{i}": f"{who} {i}" for who in "ab" for i in range(0, 60, 2)}
    for top in (one, two):
        eventually(lambda top=top: sorted(os.listdir(top / "directory")) == sorted(expected), "all files")
        for name, content in expected.items():
            assert (top / "directory" / name).read_text() == content
