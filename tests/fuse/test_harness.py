"""The harness itself: a test that goes wrong is told so and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.mountinfo import remove_tree
from tests.mounting import Mount, Options


def test_daemon_that_hangs_is_ended_by_the_watchdog(scratch: Path) -> None:
    mount = Mount(scratch / "m", Options(seconds=6))
    mount.start()
    os.kill(mount.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(OSError, match=r"connect|abort"):
        (mount.workspace / "any").stat()
    assert time.monotonic() - began < 10
    with pytest.raises(AssertionError, match="watchdog"):
        mount.close()
    assert not mount.alive
    assert not mount.mounted


def test_undeclared_warning_fails_and_a_declared_one_does_not(scratch: Path) -> None:
    mount = Mount(scratch / "m", Options())
    mount.start()
    mount.terminate()
    for line in (
        '{"event": "odd", "level": "warning"}',
        "12:00:00 [warning  ] odd",
        "time=1 level=error odd",
    ):
        mount.log.write_text(line + "\n")
        with pytest.raises(AssertionError, match="undeclared in log"):
            mount.close()
        mount = Mount(scratch / "m", Options())
        mount.expect_log("odd")
        mount.close()


def test_scratch_with_a_live_mount_is_not_deleted(mount: Mount) -> None:
    (mount.workspace / "file").write_text("somebody's")
    with pytest.raises(AssertionError, match="still mounted"):
        remove_tree(mount.base)
    assert (mount.workspace / "file").read_text() == "somebody's"
