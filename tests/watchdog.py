"""A process that ends a FUSE daemon and its mount when a deadline passes, or when the test run itself dies.

A process and not a thread, because a page fault on a mapped file of a hung mount stops this interpreter with its
lock held. It reads a pipe that this process keeps open: a broken pipe is a dead test run.
"""

from __future__ import annotations

import subprocess

from tests.mountinfo import Entry

RELEASE_SECONDS = 30.0

_SCRIPT = r"""
if read -r -t "$1" word && [ "$word" = done ]; then exit 0; fi
kill -9 "$2" 2>/dev/null
[ -e "/sys/fs/fuse/connections/$3/abort" ] && echo 1 > "/sys/fs/fuse/connections/$3/abort"
umount -l "$4" 2>/dev/null || fusermount3 -u -z "$4" 2>/dev/null
exit 9
"""


class Watchdog:
    """Watches the daemon `pid` that serves the mount `entry`, for `seconds`."""

    def __init__(self, seconds: float, pid: int, entry: Entry) -> None:
        argv = ["bash", "-c", _SCRIPT, "watchdog", f"{seconds:.1f}", str(pid), str(entry.minor)]
        self._process = subprocess.Popen(
            [*argv, str(entry.point)], stdin=subprocess.PIPE, start_new_session=True
        )

    def release(self) -> bool:
        """Calls it off. False when it had to act."""
        try:
            self._process.communicate(b"done\n", timeout=RELEASE_SECONDS)
        except BrokenPipeError:
            self._process.wait(RELEASE_SECONDS)
        return self._process.returncode == 0
