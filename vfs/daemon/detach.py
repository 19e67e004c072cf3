"""Takes a mount out of the tree: fusermount3 for everyone, umount(8) where root has no fusermount3.

Neither asks the daemon for anything, and both get a deadline anyway: a parent directory may lie in another mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SECONDS = 15.0


def detach(point: Path, *, lazy: bool = False) -> str:
    """Why it did not work, in the words of the system; empty when it did. `lazy` also takes a busy one."""
    try:
        done = subprocess.run(
            [*_command(lazy), str(point)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            cwd="/",
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:g} s"
    except FileNotFoundError:
        return "there is no fusermount3: run `apt-get install fuse3` as root"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[0].strip()


def _command(lazy: bool) -> list[str]:
    if os.geteuid() == 0 and shutil.which("fusermount3") is None:
        return ["umount", "-i", *(["-l"] if lazy else []), "--"]
    return ["fusermount3", "-u", *(["-z"] if lazy else []), "--"]
