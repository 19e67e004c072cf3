"""Tasks beside the requests: parts on their way, read-ahead, clean-up. None of them may end the mount.

The fence stands around the handlers; this stands around everything else that the mount runs. An error that nobody
foresaw is logged with its traceback, and told to whoever must not believe that the task did its work.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import trio

from vfs.errors import StoreError, VfsError

log = structlog.get_logger()

Task = Callable[[], Coroutine[Any, Any, None]]
Failed = Callable[[VfsError], None]


class Background:
    """Runs tasks while its nursery is open."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._running = 0
        self._idle = trio.Event()
        self.last_error = ""

    def open(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def close(self) -> None:
        """No task may be started any more; those that run are the nursery's."""
        self._nursery = None

    def spawn(self, task: Task, failed: Failed = lambda error: None) -> None:
        """Starts a task; `failed` hears of what it raises."""
        assert self._nursery is not None, "the mount is not running"
        self._running += 1
        self._nursery.start_soon(self._run, task, failed)

    async def _run(self, task: Task, failed: Failed) -> None:
        try:
            await self.guard(task, failed)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def finished(self, seconds: float) -> None:
        """Returns when no task is left, so that uploads and objects given up are gone; or when the time is up."""
        with trio.move_on_after(seconds):
            while self._running:
                self._idle = trio.Event()
                await self._idle.wait()

    async def guard(self, task: Task, failed: Failed = lambda error: None) -> None:
        """Runs a task here. Raises nothing but a cancellation."""
        try:
            await task()
        except VfsError as error:
            self.last_error = str(error)
            failed(error)
        except Exception as error:
            self.last_error = repr(error)
            log.error("bug: a background task failed", exc_info=error)
            failed(StoreError(f"a background task failed: {error!r}"))
