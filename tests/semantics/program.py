"""What the chapters' tests do alike: expect an errno, look into the store, act as another user or process."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounting import Mount

NOBODY = 65534
PATIENCE_SECONDS = 10.0


@contextmanager
def fails_with(code: int) -> Iterator[None]:
    """The system call inside must fail with this errno and no other."""
    with pytest.raises(OSError) as caught:
        yield
    got = errno.errorcode.get(caught.value.errno or 0, caught.value.errno)
    assert got == errno.errorcode[code], f"{got}, where {errno.errorcode[code]} was promised"


def eventually(condition: Callable[[], bool], what: str) -> None:
    """For the few things that are promised soon, not at once."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Stored:
    """The objects of a mount's user, as whoever looks into the file:// store's directory finds them."""

    mount: Mount

    def path(self, path: Path) -> Path:
        """Where the object of a path on the mount lies."""
        return self.mount.user_dir / path.relative_to(self.mount.root)

    def bytes(self, path: Path) -> bytes | None:
        """Content of the object, None when there is none."""
        try:
            return self.path(path).read_bytes()
        except FileNotFoundError:
            return None

    def metadata(self, path: Path) -> dict[str, str]:
        return dict(self._record(path)["metadata"])

    def content_type(self, path: Path) -> str:
        return str(self._record(path)["type"])

    def private(self, *parts: str) -> set[Path]:
        """All files below `.agentfs`, or below a directory in it."""
        top = self.mount.user_dir.joinpath(".agentfs", *parts)
        return {Path(directory) / name for directory, _, names in os.walk(top) for name in names}

    def put(self, path: Path, data: bytes) -> None:
        """Stores an object as a program does that knows nothing of agentfs: no metadata, parents implied."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def _record(self, path: Path) -> dict[str, dict[str, str]]:
        record: dict[str, dict[str, str]] = json.loads(os.getxattr(self.path(path), "user.agentfs"))
        return record


def python(source: str, *arguments: object, user: int | None = None) -> str:
    """Runs a program in a process of its own, as another user and group when asked to; its output, stripped.

    What it raises on purpose it prints: `OSError` becomes the name of its errno. It takes its user after it has
    started, for this interpreter may lie where that user cannot go.
    """
    become = f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n" if user is not None else ""
    program = (
        f"import errno, fcntl, os, sys\n{become}try:\n"
        + "".join(f"    {line}\n" for line in source.strip().splitlines())
        + "except OSError as error:\n    print(errno.errorcode[error.errno])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *(str(argument) for argument in arguments)],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
