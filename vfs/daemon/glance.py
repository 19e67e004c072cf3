"""A look at a path that may hang for ever, with a deadline.

A system call on a mount whose daemon is stuck sleeps where no signal reaches it, and takes its whole process along.
So a child looks; when it does not come back in time it is left behind, and this process stays free.
"""

from __future__ import annotations

import contextlib
import errno
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SECONDS = 5.0
REAP_SECONDS = 0.5

_LOOK = """
import errno, json, os, stat, sys
path = sys.argv[1]
seen = {"real": os.path.realpath(path), "errno": 0, "directory": False, "empty": False, "writable": False}
try:
    seen["directory"] = stat.S_ISDIR(os.stat(path).st_mode)
    seen["writable"] = os.access(path, os.W_OK)
    if seen["directory"]:
        with os.scandir(path) as entries:
            seen["empty"] = next(entries, None) is None
except OSError as error:
    seen["errno"] = error.errno
print(json.dumps(seen))
"""


@dataclass(frozen=True, slots=True)
class Glance:
    """What was seen. `errno` is 0 when the path answered; ETIMEDOUT when it did not."""

    real: Path
    errno: int
    directory: bool = False
    empty: bool = False
    writable: bool = False

    @property
    def answers(self) -> bool:
        return self.errno == 0

    @property
    def dead(self) -> bool:
        """A FUSE mount that nobody serves any more."""
        return self.errno in (errno.ENOTCONN, errno.ECONNABORTED)

    @property
    def stuck(self) -> bool:
        return self.errno == errno.ETIMEDOUT


def glance(path: Path, seconds: float = SECONDS) -> Glance:
    """Looks at the path, for at most `seconds`."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LOOK, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        output, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=REAP_SECONDS)  # in vain if it sleeps where no signal reaches it
        return Glance(path, errno.ETIMEDOUT)
    if child.returncode != 0:
        return Glance(path, errno.EIO)
    seen = json.loads(output)
    return Glance(Path(seen["real"]), seen["errno"], seen["directory"], seen["empty"], seen["writable"])
