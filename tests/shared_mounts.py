"""Real mounts of one user that share a Redis: what they say of it, and how long it takes until they agree."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.mounting import Mount
from vfs.daemon import control_client
from vfs.daemon.runtime_dir import opened, runtime_dir, socket_name

AGREE_SECONDS = 20.0


def status(mount: Mount) -> Mapping[str, Any]:
    """What the daemon says of itself.

    Asked here: a process for it would take half a second, and a fork closes what this one has open on the mount.
    """
    with (
        opened(runtime_dir(mount.env)) as where,
        control_client.connected(where, socket_name(mount.root)) as client,
    ):
        return client.ask("status")


def shared(mount: Mount) -> Mapping[str, Any]:
    """The part that tells of Redis."""
    found: Mapping[str, Any] = status(mount)["shared"]
    return found


def connected(*mounts: Mount, state: str = "connected") -> None:
    """Returns when all of them say so."""
    for mount in mounts:
        eventually(lambda mount=mount: shared(mount)["state"] == state, f"{mount} is {state}")


def eventually(condition: Callable[[], bool], what: str, seconds: float = AGREE_SECONDS) -> float:
    """Asks until it holds; returns the seconds that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not after {seconds:.0f} s: {what}"
        time.sleep(0.001)
    return time.monotonic() - begun


def content(path: Path) -> bytes | None:
    """Of a file; None if there is none, or it was replaced elsewhere between its open and its read (S18.5)."""
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        return None
