"""`agentfs refresh`: makes a mount ask the store again."""

from __future__ import annotations

import os
from pathlib import Path

from vfs.daemon.control_client import daemon_of
from vfs.daemon.mount_table import MountEntry, mount_table
from vfs.errors import ConfigError


def refresh(path: str) -> None:
    """Whatever the mount knows of a file, or a directory and all below, is asked for again. Raises VfsError."""
    entry, inside = within(Path(os.path.abspath(path)), mount_table())
    with daemon_of(entry.point, entry.owner) as client:
        client.ask("refresh", {"path": inside})


def within(path: Path, table: list[MountEntry]) -> tuple[MountEntry, str]:
    """The mount that a path lies on, and where in it; the path itself is not touched. Raises ConfigError."""
    over = [entry for entry in table if path.is_relative_to(entry.point)]
    deepest = max(enumerate(over), key=lambda item: (len(item[1].point.parts), item[0]), default=None)
    if deepest is None or not deepest[1].is_agentfs:
        raise ConfigError(f"{path} is not on an agentfs mount: `agentfs status` lists the mounts")
    inside = path.relative_to(deepest[1].point)
    return deepest[1], "" if inside == Path() else str(inside)
