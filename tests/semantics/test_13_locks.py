"""Chapter 13: locks."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tests.conftest import MakeMount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import python

TRY_FLOCK = "fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB); print('locked')"
TRY_FCNTL = """
fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB, int(sys.argv[3]), int(sys.argv[2]))
print("locked")
"""


@semantics("S13.1")
def test_flock_between_processes(work: Path, opened: Open) -> None:
    (work / "file").write_bytes(b"x")
    descriptor = opened(work / "file", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert python(TRY_FLOCK, work / "file") == "EAGAIN"
    os.close(descriptor)
    assert python(TRY_FLOCK, work / "file") == "locked"


@semantics("S13.2")
def test_record_locks_between_processes(work: Path, opened: Open) -> None:
    (work / "file").write_bytes(b"x" * 100)
    descriptor = opened(work / "file", os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX, 10, 20)
    assert python(TRY_FCNTL, work / "file", 25, 1) in ("EAGAIN", "EACCES")
    assert python(TRY_FCNTL, work / "file", 30, 1) == "locked"
    fcntl.lockf(descriptor, fcntl.LOCK_UN, 10, 20)
    assert python(TRY_FCNTL, work / "file", 25, 1) == "locked"


@semantics("S13.3")
def test_locks_end_at_the_mount(mounts: MakeMount, opened: Open) -> None:
    one = mounts()
    (one.workspace / "file").write_bytes(b"x")
    two = mounts(store=one.store_dir)
    fcntl.flock(opened(one.workspace / "file", os.O_RDWR), fcntl.LOCK_EX)
    assert python(TRY_FLOCK, one.workspace / "file") == "EAGAIN"
    assert python(TRY_FLOCK, two.workspace / "file") == "locked"
