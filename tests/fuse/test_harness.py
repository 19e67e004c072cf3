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


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "odd", "level": "warning"}',
        "time=1 level=error event=odd",
        "Traceback (most recent call last) odd",
    ],
)
def test_undeclared_warning_fails_and_a_declared_one_does_not(scratch: Path, line: str) -> None:
    mount = Mount(scratch / "m", Options())
    mount.start()
    mount.terminate()
    mount.log.write_text("time=1 level=info event=warning\n" + line + "\n")
    with pytest.raises(AssertionError, match="undeclared in log") as told:
        mount.close()
    assert "event=warning" not in str(told.value).partition("---")[0]
    declared = Mount(scratch / "m", Options())
    declared.expect_log("odd")
    declared.close()


def test_scratch_with_a_live_mount_is_not_deleted(mount: Mount) -> None:
    (mount.workspace / "file").write_text("somebody's")
    with pytest.raises(AssertionError, match="still mounted"):
        remove_tree(mount.base)
    assert (mount.workspace / "file").read_text() == "somebody's"
