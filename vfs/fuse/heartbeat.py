"""Frees the loop when it waits in read(2) for a request that is not there any more.

The kernel takes a request back when its process is killed, and an INTERRUPT when the request it speaks of is
answered, even after poll(2) has announced it (fs/fuse/dev.c: request_wait_answer, fuse_request_end). libfuse then
blocks in read(2), and with it the whole loop, until the next request comes: on an idle mount, for ever, and neither
`status` nor `umount` is answered. So a thread watches the loop, and when it is late sends it a request.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import trio

INTERVAL = 1.0
"""Seconds between beats of the loop, and between the looks of the thread."""

LATE = 2.0
"""Seconds without a beat after which a request is sent. A busy loop that is only late answers one request more."""


def statfs_of(mountpoint: Path) -> Callable[[], None]:
    """A request that the kernel never answers from a cache."""

    def ask() -> None:
        with contextlib.suppress(OSError):
            os.statvfs(mountpoint)

    return ask


class Heartbeat:
    """`beat` runs in the loop, the thread between `start` and `stop`."""

    def __init__(self, poke: Callable[[], None], interval: float = INTERVAL, late: float = LATE) -> None:
        self._poke = poke
        self._interval = interval
        self._late = late
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self.pokes = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    async def beat(self) -> None:
        """Serves until cancelled."""
        while True:
            self._last = time.monotonic()
            await trio.sleep(self._interval)

    def _watch(self) -> None:
        while not self._stopped.wait(self._interval):
            if time.monotonic() - self._last > self._late:
                self.pokes += 1
                self._poke()
