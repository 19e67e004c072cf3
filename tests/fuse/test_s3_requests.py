"""What each thing that a program does costs in requests, counted on the wire between a real mount and an S3 server.

Everything happens in a directory that this mount made, so that it knows what is in there: what it wrote itself it
never asks for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.behind_proxy import settle
from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.proxy import Counting, Proxy

MIB = 1 << 20
PART = 8 * MIB
LEAST_PART = 5 * MIB
FILES = 20


@pytest.fixture
def mount(remote: MakeMount) -> Mount:
    return remote(flags=("--revalidate", "ttl"))


@pytest.fixture
def work(mount: Mount, proxy: Proxy) -> Path:
    """An empty directory of the mount's own making."""
    directory = mount.workspace / "work"
    directory.mkdir()
    settle(proxy)
    return directory


Costs = Callable[..., AbstractContextManager[Counting]]


@pytest.fixture
def costs(proxy: Proxy) -> Costs:
    """`with costs(PutObject=1):` nothing else is asked in the block, nor because of it afterwards."""

    @contextmanager
    def costs(*, refused: bool = False, **expected: int) -> Iterator[Counting]:
        with proxy.counting() as counts:
            yield counts
            settle(proxy)
        told = "\n".join(f"{one.status} {one}" for one in counts.requests[:50])
        assert counts.kinds == expected, told
        assert refused or all(one.status in (200, 204, 206) for one in counts.requests), told

    return costs


@pytest.fixture
def tree(scratch: Path) -> Path:
    """Small files with attributes of their own, to be carried into the mount."""
    root = scratch / "tree"
    (root / "sub").mkdir(parents=True)
    for number in range(FILES):
        path = root / ("sub" if number % 2 else "") / f"file{number}"
        path.write_bytes(b"x" * (number * 700))
        path.chmod(0o640)
        os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
    return root


def run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, timeout=60)


def test_create_and_close(work: Path, costs: Costs) -> None:
    for size in (0, 1, 4096, MIB, PART):
        with costs(PutObject=1) as counts:
            (work / f"file{size}").write_bytes(b"x" * size)
        assert counts.sent == size
    with costs(CreateMultipartUpload=1, UploadPart=2, CompleteMultipartUpload=1):
        (work / "larger").write_bytes(b"x" * (PART + 1))


def test_create_in_a_directory_of_which_nothing_is_known(
    mount: Mount, work: Path, proxy: Proxy, costs: Costs
) -> None:
    """Is there a file, or a directory, of that name? One question each; a listing of the directory spares them."""
    mount.remount()
    work.stat()
    settle(proxy)
    with costs(HeadObject=1, ListObjectsV2=1, PutObject=1, refused=True):
        (work / "file").write_bytes(b"x")
    with costs(ListObjectsV2=1):
        assert os.listdir(work) == ["file"]
    with costs(PutObject=1):
        (work / "other").write_bytes(b"x")


def test_create_64_mib_in_order(work: Path, costs: Costs) -> None:
    """And no copy for the time of the last write, which an upload that began earlier does not have."""
    with (
        costs(CreateMultipartUpload=1, UploadPart=8, CompleteMultipartUpload=1) as counts,
        (work / "file").open("wb", buffering=0) as file,
    ):
        for number in range(64):
            assert file.write(bytes([number]) * MIB) == MIB
    assert sorted(part.sent for part in counts.of("UploadPart")) == [PART] * 8
    with costs():
        assert (work / "file").stat().st_size == 64 * MIB


def test_rewrite_with_o_trunc(work: Path, costs: Costs) -> None:
    (work / "file").write_bytes(b"first")
    with costs(PutObject=1):
        (work / "file").write_bytes(b"second")


def test_append_to_a_small_file_just_written(work: Path, costs: Costs) -> None:
    (work / "file").write_bytes(b"x" * 100_000)
    with costs(PutObject=1), (work / "file").open("ab") as file:
        file.write(b"y" * 200)
    with costs(PutObject=1), (work / "file").open("r+b") as file:
        file.seek(50_000)
        file.write(b"z" * 200)
    expected = b"x" * 50_000 + b"z" * 200 + b"x" * 49_800 + b"y" * 200
    with costs():
        assert (work / "file").read_bytes() == expected


def test_write_temporary_fsync_and_rename_over(work: Path, costs: Costs) -> None:
    (work / "file").write_bytes(b"old")
    with costs(PutObject=1, CopyObject=1, DeleteObject=1):
        with (work / "temporary").open("wb") as file:
            file.write(b"new")
            file.flush()
            os.fsync(file.fileno())
        (work / "temporary").replace(work / "file")
    assert (work / "file").read_bytes() == b"new"


def test_attributes_after_close(work: Path, costs: Costs) -> None:
    (work / "file").write_bytes(b"content")
    path = work / "file"
    with costs(CopyObject=1):
        path.chmod(0o600)
    with costs(CopyObject=1):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    with costs(CopyObject=1):
        os.chown(path, 1234, 1234)
    with costs(CopyObject=1):
        os.setxattr(path, "user.note", b"text")


def test_attributes_while_open_and_dirty(work: Path, costs: Costs) -> None:
    with costs(PutObject=1), (work / "file").open("wb", buffering=0) as file:
        file.write(b"content")
        os.fchmod(file.fileno(), 0o600)
        os.fchown(file.fileno(), 1234, 1234)
        os.utime(file.fileno(), (1_600_000_000, 1_600_000_000))
    status = (work / "file").stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_mtime) == (0o600, 1234, 1_600_000_000)


def test_tar(work: Path, proxy: Proxy, tree: Path, scratch: Path) -> None:
    """One PUT a file. Directories get owner, mode and time when all is in them, each by a call of its own."""
    run("tar", "-C", tree, "-cf", scratch / "tree.tar", ".")
    with proxy.counting() as counts:
        run("tar", "-C", work, "-xpf", scratch / "tree.tar")
        settle(proxy)
    directories = [request for request in counts.requests if request.key.endswith("/")]
    assert counts.kinds == {"PutObject": FILES + len(directories)}
    assert len(directories) <= 7
    assert (work / "sub" / "file1").stat().st_mtime == 1_600_000_001


def test_cp_with_attributes(work: Path, costs: Costs, tree: Path) -> None:
    with costs(PutObject=FILES):
        run("cp", "-p", *sorted(path for path in tree.rglob("*") if path.is_file()), work)


def test_rsync(work: Path, costs: Costs, tree: Path) -> None:
    """It writes another name and closes it, sets time and mode by a call each, and renames it."""
    (work / "sub").mkdir()
    files = [f"{tree}/./file0", f"{tree}/./sub/file1", f"{tree}/./sub/file3"]
    with costs(PutObject=3, CopyObject=3 * 3, DeleteObject=3):
        run("rsync", "-aR", "--no-implied-dirs", *files, work)


def test_shutil_copy2(work: Path, costs: Costs, tree: Path) -> None:
    """It closes the file and then sets time and mode, each by a call of its own."""
    with costs(PutObject=1, CopyObject=2):
        shutil.copy2(tree / "file2", work / "file2")


def test_a_shell_that_redirects(work: Path, costs: Costs) -> None:
    """It opens the file, makes that its standard output and closes what it opened: nobody can tell from the end."""
    with costs(PutObject=2):
        subprocess.run("printf text > file", shell=True, cwd=work, check=True, timeout=60)
    with costs(PutObject=1):
        subprocess.run("printf text >> file", shell=True, cwd=work, check=True, timeout=60)


def test_unlink_mkdir_rmdir_symlink(work: Path, costs: Costs) -> None:
    (work / "file").write_bytes(b"content")
    with costs(DeleteObject=1):
        (work / "file").unlink()
    with costs(PutObject=1):
        (work / "directory").mkdir()
    with costs(ListObjectsV2=1, DeleteObject=1):
        (work / "directory").rmdir()
    with costs(PutObject=1):
        (work / "link").symlink_to("file")


def test_read_4_kib_of_what_is_known(mount: Mount, work: Path, proxy: Proxy, costs: Costs) -> None:
    (work / "file").write_bytes(os.urandom(20 * MIB))
    mount.remount()
    (work / "file").stat()
    settle(proxy)
    with costs(GetObject=1) as counts:
        descriptor = os.open(work / "file", os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        assert len(os.pread(descriptor, 4096, 5 * MIB)) == 4096
        os.close(descriptor)
    assert counts.received <= 128 * 1024
    (request,) = counts.requests
    assert request.status == 206


def test_nothing_is_asked_about_what_was_just_written(work: Path, costs: Costs) -> None:
    for number in range(5):
        (work / f"file{number}").write_bytes(b"x" * 1000)
    (work / "sub").mkdir()
    (work / "sub" / "inner").write_bytes(b"y")
    with costs():
        run("ls", "-lR", work)
        run("find", work, "-size", "+0")
        assert not (work / "nothing").exists()
        assert not (work / "sub" / "nothing").exists()
        for number in range(5):
            assert (work / f"file{number}").read_bytes() == b"x" * 1000
        assert (work / "sub" / "inner").read_bytes() == b"y"


def test_rename_of_a_directory(mount: Mount, work: Path, costs: Costs) -> None:
    """A LIST for each thousand to move them, and as many before if the new keys are longer.

    Before the first copy a note is put, by which a second try is known; it is deleted behind the program's back.
    """
    count = 1100
    assert mount.options.server
    for number in range(count):
        mount.options.server.client.put(f"{mount.user_prefix}workspace/work/old/f{number:04}", b"x")
    mount.remount()
    assert os.listdir(work) == ["old"]
    assert len(os.listdir(work / "old")) == count
    with costs(ListObjectsV2=2, CopyObject=count, DeleteObjects=2, PutObject=1, DeleteObject=1) as counts:
        (work / "old").rename(work / "new")
    kinds = [request.kind for request in counts.requests]
    assert kinds[-3:] == [*["DeleteObjects"] * 2, "DeleteObject"], "deleted before everything was copied"
    assert len(os.listdir(work / "new")) == count
    assert not (work / "old").exists()
