"""Makes the C library give memory back, so that the process is as small as the RAM limit says.

glibc raises its mmap threshold when large blocks are freed, up to 32 MiB; from then on file data of 1 MiB comes
from heaps that fragment and are seldom trimmed (mallopt(3)). Fixed thresholds keep every such buffer a mapping of
its own, that goes back to the kernel when it is freed. One arena per thread would multiply what is left.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

THRESHOLD = 128 << 10
"""Bytes from which a buffer is a mapping of its own."""


def keep_small() -> bool:
    """To be called before threads start. False where the C library has no mallopt (musl)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_THRESHOLD, THRESHOLD), (_M_TRIM_THRESHOLD, THRESHOLD), (_M_ARENA_MAX, 2))
    return all(mallopt(name, value) == 1 for name, value in settings)
