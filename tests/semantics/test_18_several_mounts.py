"""Chapter 18: several mounts of one user, which know of each other only through the store."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
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
    two.expect_log("changed elsewhere")
    (one.workspace / "file").write_bytes(b"base")
    eventually((two.workspace / "file").exists, "the file")
    first = opened(one.workspace / "file", os.O_WRONLY | os.O_TRUNC)
    second = opened(two.workspace / "file", os.O_WRONLY | os.O_TRUNC)
    os.write(first, b"by the first")
    os.write(second, b"by the second")
    os.close(first)
    os.close(second)
    place = Stored(one).path(one.workspace)
    assert (place / "file").read_bytes() == b"by the second"
    kept = [path for path in place.iterdir() if path.name.startswith("file.conflict-")]
    assert [path.read_bytes() for path in kept] == [b"by the first"]
    eventually(lambda: kept[0].name in os.listdir(one.workspace), "the conflict is shown")
    eventually(lambda: (one.workspace / "file").read_bytes() == b"by the second", "the winner")


@semantics("S18.4")
def test_an_edit_of_a_version_that_is_gone_is_refused(pair: tuple[Mount, Mount], opened: Open) -> None:
    one, two = pair
    two.expect_log("replaced by another writer")
    (one.workspace / "file").write_bytes(b"base" * 1000)
    eventually((two.workspace / "file").exists, "the file")
    edit = opened(two.workspace / "file", os.O_WRONLY)
    os.pwrite(edit, b"edit", 2000)
    (one.workspace / "file").write_bytes(b"other" * 1000)
    with fails_with(errno.ESTALE):
        os.fsync(edit)
    with fails_with(errno.ESTALE):
        os.close(edit)
    assert Stored(one).bytes(one.workspace / "file") == b"other" * 1000
    assert (two.workspace / "file").read_bytes() == b"other" * 1000


@semantics("S18.5")
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
    # The kernel tells of the last close a moment after it.
    eventually(lambda: _content(two.workspace / "file") == b"b" * size, "the new version")


@semantics("S18.5")
@pytest.mark.parametrize(
    ("old", "new", "piece"),
    [
        (100, 200, 1000),
        (100, 5000, 1000),
        (9000, 9000, 1000),
        (10, 20 * MIB, 32 * MIB),
        (20 * MIB, 24 * MIB, 100_000),
    ],
)
def test_who_has_read_nothing_yet_gets_the_new_version(
    mounts: MakeMount, opened: Open, old: int, new: int, piece: int
) -> None:
    one = mounts()
    path = mounts(store=one.store_dir, env=[("AGENTFS_REVALIDATE", "ttl")]).workspace / "file"
    (one.workspace / "file").write_bytes(b"a" * old)
    reader = opened(path, os.O_RDONLY)
    assert os.fstat(reader).st_size == old
    (one.workspace / "file").write_bytes(b"b" * new)
    assert b"".join(iter(lambda: os.read(reader, piece), b"")) == b"b" * new
    assert os.pread(reader, new + 1, 0) == b"b" * new
    for status in (os.fstat(reader), path.stat()):
        assert (status.st_size, status.st_mtime_ns) == (new, (one.workspace / "file").stat().st_mtime_ns)
    os.close(reader)
    assert path.read_bytes() == b"b" * new


@semantics("S18.5")
@pytest.mark.parametrize("old", [100, 20 * MIB])
def test_a_shorter_version_is_not_taken_for_the_old_one(
    pair: tuple[Mount, Mount], opened: Open, old: int
) -> None:
    one, two = pair
    (one.workspace / "file").write_bytes(b"a" * old)
    eventually((two.workspace / "file").exists, "the file")
    reader = opened(two.workspace / "file", os.O_RDONLY)
    (one.workspace / "file").write_bytes(b"b" * (old // 2))
    with fails_with(errno.ESTALE):
        os.read(reader, old)
    os.close(reader)
    eventually(lambda: _content(two.workspace / "file") == b"b" * (old // 2), "the new version")


@semantics("S18.5")
def test_who_has_it_open_to_write_keeps_readers_at_the_old_version(
    pair: tuple[Mount, Mount], opened: Open
) -> None:
    one, two = pair
    (one.workspace / "file").write_bytes(b"old")
    eventually((two.workspace / "file").exists, "the file")
    reader = opened(two.workspace / "file", os.O_RDONLY)
    opened(two.workspace / "file", os.O_WRONLY)
    (one.workspace / "file").write_bytes(b"new")
    with fails_with(errno.ESTALE):
        os.read(reader, 10)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return None


@semantics("S18.6")
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


@semantics("S18.7")
def test_lines_that_two_mounts_append_all_survive(pair: tuple[Mount, Mount], opened: Open) -> None:
    one, two = pair
    (one.workspace / "log").write_bytes(b"")
    eventually((two.workspace / "log").exists, "the file")
    stays_open = opened(two.workspace / "log", os.O_WRONLY | os.O_APPEND)
    for number in range(10):
        with (one.workspace / "log").open("ab") as log:
            log.write(b"of one %d\n" % number)
        with (two.workspace / "log").open("ab") as log:
            log.write(b"of two %d\n" % number)
        os.write(stays_open, b"stays open %d\n" % number)
        os.fsync(stays_open)
    os.close(stays_open)
    lines = Stored(one).bytes(one.workspace / "log").splitlines()
    who = (b"of one", b"of two", b"stays open")
    assert sorted(lines) == sorted(b"%s %d" % (each, number) for each in who for number in range(10))
    for mount in pair:
        eventually(
            lambda top=mount.workspace: (_content(top / "log") or b"").splitlines() == lines, "all lines"
        )
    assert os.listdir(one.workspace) == ["log"]


@pytest.fixture
def patient(mounts: MakeMount) -> tuple[Mount, Mount]:
    """Two mounts as they are if nothing is set."""
    one = mounts()
    return one, mounts(store=one.store_dir)


@semantics("S18.8")
def test_what_was_closed_is_what_is_opened(patient: tuple[Mount, Mount]) -> None:
    one, two = (mount.workspace for mount in patient)
    (one / "directory").mkdir()
    (one / "file").write_bytes(b"first")
    assert (two / "file").read_bytes() == b"first"
    assert os.listdir(two / "directory") == []
    for number in range(4):
        text = b"version %d" % number * 1000 * (number % 2 + 1)
        (one / "file").write_bytes(text)
        (one / "directory" / f"{number}").write_bytes(b"")
        time.sleep(1.3)
        assert (two / "file").read_bytes() == text
        assert (two / "file").stat().st_size == len(text)
        assert sorted(os.listdir(two / "directory")) == [f"{n}" for n in range(number + 1)]


@semantics("S18.1")
def test_what_was_not_there_is_found(patient: tuple[Mount, Mount]) -> None:
    """Whether it was asked for, or its directory was listed."""
    one, two = (mount.workspace for mount in patient)
    (one / "listed").mkdir()
    assert os.listdir(two / "listed") == []
    assert not (two / "asked").exists()
    for path in ("asked", "listed/file"):
        (one / path).write_bytes(b"new")
    time.sleep(6.2)  # the kernel remembers an absence for another second
    for path in ("asked", "listed/file"):
        assert (two / path).read_bytes() == b"new"


@semantics("S18.8")
def test_an_open_that_always_asks(mounts: MakeMount) -> None:
    one = mounts()
    two = mounts(store=one.store_dir, flags=("--revalidate", "0"))
    assert os.listdir(two.workspace) == []
    for number in range(3):
        (one.workspace / f"new-{number}").write_bytes(b"new")
        assert (two.workspace / f"new-{number}").read_bytes() == b"new"
    for number in range(20):
        text = b"version %d" % number * (number % 3 + 1)
        (one.workspace / "file").write_bytes(text)
        assert (two.workspace / "file").read_bytes() == text


@semantics("S7.3")
def test_a_name_of_several_that_another_mount_replaces(pair: tuple[Mount, Mount]) -> None:
    one, two = (mount.workspace for mount in pair)
    (one / "a").write_bytes(b"first")
    for name in "bcd":
        os.link(one / "a", one / name)
    eventually(lambda: len(os.listdir(two)) == 4, "the names")
    (two / "b").write_bytes(b"theirs")
    (two / "c").chmod(0o600)
    (two / "d").unlink()
    eventually(lambda: (one / "b").read_bytes() == b"theirs", "the other version")
    eventually(lambda: (one / "c").stat().st_mode & 0o777 == 0o600, "the other mode")
    eventually(lambda: not (one / "d").exists(), "the removal")
    assert (one / "a").stat().st_nlink == 1
    (one / "a").write_bytes(b"second")
    assert (one / "b").read_bytes() == b"theirs"
    assert (one / "c").read_bytes() == b"first"
    assert sorted(os.listdir(one)) == ["a", "b", "c"]


@semantics("S18.9")
def test_what_was_known_is_asked_for_again(mounts: MakeMount) -> None:
    mount = mounts(flags=("--revalidate", "ttl"))
    path = mount.workspace / "directory" / "file"
    path.parent.mkdir()
    path.write_bytes(b"known")
    assert not (path.parent / "new").exists()
    Stored(mount).put(path, b"from a browser")
    Stored(mount).put(path.parent / "new", b"new")
    assert path.stat().st_size == 5
    for argument in (str(path), str(mount.root)):
        done = mount.agentfs("refresh", argument)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        assert path.read_bytes() == b"from a browser"
    assert (path.parent / "new").read_bytes() == b"new"
    wrong = mount.agentfs("refresh", str(mount.base))
    assert wrong.returncode == 1
    assert "is not on an agentfs mount" in wrong.stderr


@semantics("S18.10")
def test_locks_stay_on_their_mount(patient: tuple[Mount, Mount], opened: Open) -> None:
    one, two = (mount.workspace for mount in patient)
    (one / "file").write_bytes(b"")
    first, second = opened(one / "file", os.O_RDWR), opened(two / "file", os.O_RDWR)
    fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
