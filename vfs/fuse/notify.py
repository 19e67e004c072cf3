"""Tells the kernel what it should forget: the only caller of invalidate_*.

These calls can block until a request that is under way is answered, so they are made from threads of their own,
never from a handler and never under a lock. Names and attributes have a thread each: a name waits for the lock of its
directory, which a slow LOOKUP there holds (fuse_reverse_inval_entry in fs/fuse/dir.c), attributes wait for nobody
(fuse_reverse_inval_inode in fs/fuse/inode.c), and an open waits for them. The queues are bounded; what does not fit
is left to the kernel's timeouts.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial

import pyfuse3
import trio

from vfs.types import Ino

QUEUE = 65_536

TOLD_SECONDS = 1.0
"""A thread may have much to say, or be held up; what waits for it goes on then."""

Call = Callable[[], None]


class Line:
    """A thread, and the calls that it is to make, in order. Only the loop adds to them."""

    def __init__(self, name: str) -> None:
        # INVARIANT: no more than QUEUE calls. Who waits for them, and the end, always fit in between.
        self._queue: queue.Queue[Call | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ended = False
        self._complete = True
        """Nothing was skipped since the queue was last empty."""
        self.skipped = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The thread ends after the call that it makes; what is left is not said any more."""
        self._ended = True
        self._queue.put(None)

    def add(self, call: Call) -> None:
        waiting = self._queue.unfinished_tasks
        if waiting >= QUEUE:
            self.skipped += 1
            self._complete = False
            return
        if not waiting:
            self._complete = True
        self._queue.put(call)

    async def said(self) -> bool:
        """Returns when all that was added before has been called, at once as a rule; False if some of it was not."""
        if not self._queue.unfinished_tasks:
            return True
        complete, heard = self._complete, trio.Event()
        token = trio.lowlevel.current_trio_token()

        def tell() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(heard.set)

        self._queue.put(tell)
        with trio.move_on_after(TOLD_SECONDS):
            await heard.wait()
        return complete and heard.is_set()

    def _run(self) -> None:
        while (call := self._queue.get()) is not None and not self._ended:
            try:
                with contextlib.suppress(OSError):  # ENOENT: the kernel did not know it; ENOTCONN: unmounted
                    call()
            finally:
                self._queue.task_done()


class Notifier:
    """Two threads between `start` and `stop`."""

    def __init__(self) -> None:
        self._names = Line("notify-names")
        self._attributes = Line("notify-attributes")

    @property
    def skipped(self) -> int:
        return self._names.skipped + self._attributes.skipped

    def start(self) -> None:
        self._names.start()
        self._attributes.start()

    def stop(self) -> None:
        self._names.stop()
        self._attributes.stop()

    def name_gone(self, parent: Ino, name: bytes) -> None:
        """The kernel's dentry is no longer true."""
        self._names.add(partial(pyfuse3.invalidate_entry, parent, name))

    def attributes_changed(self, ino: Ino) -> None:
        """What the kernel was told of an inode is no longer true. Its pages stay: it may be open."""
        self._attributes.add(partial(pyfuse3.invalidate_inode, ino, attr_only=True))

    async def told(self) -> bool:
        """Returns when the kernel has heard of all attributes that changed before; False if not, after a moment."""
        return await self._attributes.said()

    async def all_told(self) -> bool:
        """The same of names too."""
        with trio.move_on_after(TOLD_SECONDS):
            attributes, names = await self._attributes.said(), await self._names.said()
            return attributes and names
        return False
