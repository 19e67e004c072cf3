"""Every bound of the Redis cache."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes."""

    connect_timeout: float = 0.25
    command_timeout: float = 1.0
    queue_timeout: float = 1.0
    """Longest wait for a thread."""
    threads: int = 8
    slow: float = 0.1
    """An answer that takes longer is late: the store would be about as fast."""
    calm: float = 5.0
    """Trouble that comes back sooner is the same: the log tells of it once."""

    block: float = 1.0
    """One question for changes waits so long for them."""
    beat: float = 2.0
    """Longest time in which it is not noticed that changes were lost, or cannot be told."""
    stream_length: int = 10_000
    batch: int = 500
    """Changes in one entry of the stream, and entries read at once."""

    ttl: float = 660.0
    """A directory that no mount writes to is dropped: the longest TTL of the mounts, and a margin."""
    placeholder_ttl: float = 120.0
    """Longest time between asking for a directory that is not known, and filling it."""
    most_names: int = 50_000
    """In one directory; larger ones are not kept."""

    content_size: int = 64 * KIB
    content_total: int = 64 * MIB
    content_ttl: float = 3600.0
    content_segments: int = 16
    content_ahead: int = 2 * MIB
    """Contents that came along with names, in this process, until they are asked for."""
