"""Tells the kernel what it should forget: the only caller of invalidate_*.

These calls can block until a request that is under way is answered, so they are made from a thread of their own,
never from a handler and never under a lock. The queue is bounded; what does not fit is left to the kernel's
timeouts.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

import pyfuse3
import trio

from vfs.types import Ino

QUEUE = 65_536

TOLD_SECONDS = 1.0
"""The thread may be held up by another notification; what waits for it goes on then."""

Item = tuple[Ino, bytes | None] | Callable[[], None]
"""A dentry; an inode's attributes; or what is to be called in between."""


class Notifier:
    """One thread between `start` and `stop`."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Item | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self.skipped = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)

    def name_gone(self, parent: Ino, name: bytes) -> None:
        """The kernel's dentry is no longer true."""
        self._put((parent, name))

    def attributes_changed(self, ino: Ino) -> None:
        """What the kernel was told of an inode is no longer true. Its pages stay: it may be open."""
        self._put((ino, None))

    async def told(self) -> bool:
        """Returns when the kernel has heard of everything before, at once as a rule; False after a moment."""
        if not self._queue.unfinished_tasks:
            return True
        heard = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def tell() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(heard.set)

        with trio.move_on_after(TOLD_SECONDS):
            self._put(tell)
            await heard.wait()
        return heard.is_set()

    def _put(self, item: Item) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.skipped += 1
            if callable(item):
                item()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._tell(item)
            finally:
                self._queue.task_done()

    def _tell(self, item: Item) -> None:
        if callable(item):
            item()
            return
        ino, name = item
        with contextlib.suppress(OSError):  # ENOENT: the kernel did not know it; ENOTCONN: unmounted
            if name is None:
                pyfuse3.invalidate_inode(ino, attr_only=True)
            else:
                pyfuse3.invalidate_entry(ino, name)
