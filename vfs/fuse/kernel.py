"""Mount options, and the knobs of the kernel that a mount can turn."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from vfs.config import Config

READ_AHEAD_KB = 1024
"""One FUSE read carries this much instead of 128 KiB; the largest request libfuse takes is 1 MiB."""

MAX_BACKGROUND = 32
"""Asynchronous requests (read-ahead) the kernel keeps under way; its default is 12."""


def mount_options(config: Config) -> set[str]:
    """Options for fusermount3 and the kernel. The kernel checks permissions; nothing set-id and no devices."""
    options = {
        "fsname=agentfs",
        "subtype=agentfs",
        "default_permissions",
        "nosuid",
        "nodev",
        "noatime",
    }
    if config.allow_other:
        options.add("allow_other")
    if config.read_only:
        options.add("ro")
    for option in config.fuse_options:
        opposite = {"suid": "nosuid", "dev": "nodev"}.get(option)
        if opposite is not None:
            options.discard(opposite)
        options.add(option)
    return options


def tune(device: int) -> None:
    """Raises read-ahead and background requests of the mount with this st_dev. Needs root; else nothing."""
    major, minor = os.major(device), os.minor(device)
    knobs = (
        (Path(f"/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KB),
        (Path(f"/sys/fs/fuse/connections/{minor}/max_background"), MAX_BACKGROUND),
    )
    for path, value in knobs:
        with contextlib.suppress(OSError):
            path.write_text(str(value))
