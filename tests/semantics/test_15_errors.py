"""Chapter 15: errors. The daemon is made to fail by taking from it what it needs."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import fails_with

MIB = 1 << 20
FS_IOC_GETFLAGS = 0x80086601


@contextmanager
def store_out_of_reach(mount: Mount) -> Iterator[None]:
    """The file:// store cannot open a file: the daemon may have no more descriptors than it has."""
    mount.expect_log("Too many open files|no answer|unavailable|gave up|EIO|failed")
    used = len(os.listdir(f"/proc/{mount.pid}/fd"))
    before = resource.prlimit(mount.pid, resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir(f"/proc/{mount.pid}/fd"))
    resource.prlimit(mount.pid, resource.RLIMIT_NOFILE, (min(used, highest), before[1]))
    try:
        yield
    finally:
        resource.prlimit(mount.pid, resource.RLIMIT_NOFILE, before)


@semantics("S15.1")
def test_a_full_store(small_store: Path, mounts: MakeMount) -> None:
    mount = mounts(store=small_store)
    mount.expect_log("No space|ENOSPC|failed")
    descriptor = os.open(mount.workspace / "file", os.O_CREAT | os.O_WRONLY)
    with fails_with(errno.ENOSPC):
        for _ in range(12):
            os.write(descriptor, os.urandom(MIB))
        os.close(descriptor)
    (mount.workspace / "small").write_bytes(b"still works")
    assert (mount.workspace / "small").read_bytes() == b"still works"


@semantics("S15.1", "S15.2", "S15.3")
def test_a_store_that_does_not_answer_is_not_an_empty_one(mounts: MakeMount) -> None:
    mount = mounts(env=(("AGENTFS_STORE_TIMEOUT", "3"),))
    (mount.workspace / "file").write_bytes(b"content")
    mount.remount()
    with store_out_of_reach(mount), fails_with(errno.EIO):
        (mount.workspace / "file").stat()
    assert (mount.workspace / "file").read_bytes() == b"content"


@semantics("S15.3", "S15.4")
def test_failed_operations_change_nothing(work: Path) -> None:
    (work / "directory").mkdir()
    (work / "file").write_bytes(b"content")
    before = (work / "file").stat()
    failures = (
        (errno.EEXIST, (work / "directory").mkdir),
        (errno.ENOENT, (work / "missing").unlink),
        (errno.ENOTDIR, lambda: os.rename(work / "directory", work / "file")),
        (errno.EISDIR, lambda: os.open(work / "directory", os.O_WRONLY)),
        (errno.EINVAL, lambda: os.rename(work / "directory", work / "directory" / "x")),
        (errno.EISDIR, lambda: os.truncate(work / "directory", 1)),
        (errno.ENAMETOOLONG, lambda: os.link(work / "file", work / ("x" * 256))),
        (errno.EFBIG, lambda: os.truncate(work / "file", 1 << 60)),
    )
    for code, failure in failures * 3:
        with fails_with(code):
            failure()
    after = (work / "file").stat()
    assert (after.st_size, after.st_mtime_ns, after.st_nlink) == (before.st_size, before.st_mtime_ns, 1)
    assert sorted(os.listdir(work)) == ["directory", "file"]
    assert (work / "file").read_bytes() == b"content"


@semantics("S15.5")
def test_file_flags(work: Path, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    with fails_with(errno.ENOTTY):
        fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(8))
