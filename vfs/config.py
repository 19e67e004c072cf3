"""One frozen Config: every limit and every default of the daemon, in one place.

How the values get here (flags over environment over file over these defaults) is `vfs.daemon.settings`.
Sizes are bytes, times are seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """What one mount is built from. Checked once, when it is made; nothing below reads the environment."""

    mountpoint: Path
    user: str
    store: str = ""
    """URL, `file:///dir` or `s3://bucket/prefix`; empty means the embedded store."""
    redis: str = field(default="", repr=False)
    read_only: bool = False
    allow_other: bool = False
    uid: int = field(default_factory=os.getuid)
    """Owner shown for objects that carry none."""
    gid: int = field(default_factory=os.getgid)
    umask: int = 0o022
    """Taken from 0666 and 0777 for objects that carry no mode."""

    ram_limit: int = 256 * MIB
    """Ceiling of all file data in RAM, dirty and clean."""
    part_size: int = 8 * MIB
    """Size of a multipart part, and largest content sent as one PUT."""
    uploads: int = 6
    """Parts and objects on their way to the store at once."""
    read_ahead: int = 32 * MIB
    """Largest window read ahead of one sequential reader."""

    workspace_ttl: float = 300.0
    memory_ttl: float = 600.0
    negative_ttl: float = 5.0
    revalidate: float = 1.0
    """Age up to which what is known is believed when a file is opened or a directory read; inf: the TTLs alone."""
    shared_content: int = 64 * KIB
    """Largest file whose content is kept in the shared cache."""
    cache_entries: int = 32_768
    """Attributes kept in the process, by least recent use."""

    store_timeout: float = 60.0
    """Longest a program waits for one answer of the store, however often it is asked, before it gets EIO."""
    attempt_timeout: float = 15.0
    """Longest wait for the answer to one attempt, beside a second for each MiB that it moves."""
    space_timeout: float = 300.0
    """Longest a writer waits for room under `ram_limit` before it gets EIO."""

    path_timeout: float = 600.0
    """Longest a program waits for a rename of a directory above it before it gets EIO."""

    fuse_tasks: int = 40
    """FUSE requests served at once; each holds a buffer of about 1 MiB in libfuse."""
    max_handles: int = 65_536
    fuse_options: tuple[str, ...] = ()

    log_level: str = "info"
    log_file: Path | None = None
