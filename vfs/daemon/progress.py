"""How far an unmount has come: a bar on a terminal, one line elsewhere, nothing when it is over at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from vfs.daemon.values import show_size

PATIENCE = 1.0
"""Seconds in which nothing is shown."""


class ProgressDisplay:
    """Takes {"files": left, "bytes": left}. The total is what was left when it began, or more if it grows."""

    def __init__(self, stream: TextIO | None = None, patience: float = PATIENCE) -> None:
        self._stream = stream or sys.stderr
        self._patience = patience
        self._began = time.monotonic()
        self._most = 0
        self._said = False
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Mapping[str, Any]) -> None:
        files, left = int(progress.get("files", 0)), int(progress.get("bytes", 0))
        self._most = max(self._most, left)
        if time.monotonic() - self._began < self._patience or not files:
            return
        if self._stream.isatty():
            self._draw(files, left)
        elif not self._said:
            self._said = True
            self._stream.write(f"agentfs: storing {files} files, {show_size(left)} to go\n")

    def _draw(self, files: int, left: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._task = self._bar.add_task("storing")
            self._bar.start()
        self._bar.update(
            self._task, total=self._most, completed=self._most - left, description=f"storing {files} files"
        )
