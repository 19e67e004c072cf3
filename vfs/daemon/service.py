"""The life of a daemon: store and control socket up, mount, serve, make everything durable, go.

What it runs is handed to it (`Engine`), so that this file is tested without a kernel. The control socket outlives
the mount: whoever asks while the last files are being stored gets an answer.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog
import trio

from vfs.config import Config
from vfs.daemon.control import Command, Control, Progress, bounded
from vfs.daemon.control_client import connected
from vfs.daemon.detach import detach
from vfs.daemon.readiness import Readiness
from vfs.daemon.runtime_dir import RuntimeDir, opened, runtime_dir, socket_name
from vfs.errors import ConfigError, VfsError, leading

log = structlog.get_logger()

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SETTLE_SECONDS = 1.0
"""For answers that are on their way when the daemon ends."""

LONGEST_DRAIN = 24 * 3600.0


class Serves(Protocol):
    """The part of `vfs.core.filesystem.FileSystem` that a daemon needs."""

    def running(self) -> AbstractAsyncContextManager[None]: ...

    async def drain(self, progress: Callable[[int, int], None] | None = None) -> None: ...

    async def ask_again(self, path: str) -> None: ...

    def statistics(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """A file system, and how it is served. `requests` counts what the kernel asked."""

    fs: Serves
    serve: Callable[[Callable[[], None]], Awaitable[None]]
    stop: Callable[[], None]
    requests: Callable[[], Any] = lambda: None


@dataclass(slots=True)
class Service:
    """One daemon. `store` is the store's URL as it may be shown."""

    config: Config
    engine: Engine
    readiness: Readiness
    store: str
    version: str
    state: str = "starting"
    _began: float = field(default_factory=time.monotonic)
    _unstored: str = ""
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self) -> None:
        """Returns when unmounted and everything is durable. Raises VfsError when either could not be."""
        try:
            with opened(runtime_dir(), create=True) as where, self._scope:
                async with trio.open_nursery() as nursery:
                    control = Control(self.commands())
                    name = socket_name(self.config.mountpoint)
                    with where.locked():
                        self._refuse_a_second(where, name)
                        await nursery.start(control.serve, where, name)
                    await nursery.start(self._obey_signals)
                    await self._serve()
                    await control.settle(SETTLE_SECONDS)
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise self._plain(leading(group)) from group
        except trio.TooSlowError as error:
            raise self._plain(error) from error
        if self._unstored:
            raise VfsError(f"not everything was stored: {self._unstored}")

    def commands(self) -> dict[str, Command]:
        """What the control socket answers to."""
        return {
            "ping": Command(self._ping),
            "status": Command(self._status),
            "drain": Command(self._drain, LONGEST_DRAIN),
            "stop": Command(self._stop),
            "refresh": Command(self._refresh),
        }

    def status(self) -> dict[str, Any]:
        """What `agentfs status` shows; bytes and seconds."""
        statistics = dataclasses.asdict(self.engine.fs.statistics())
        requests = self.engine.requests()
        return {
            "mountpoint": str(self.config.mountpoint),
            "user": self.config.user,
            "store": self.store,
            "pid": os.getpid(),
            "state": self.state,
            "version": self.version,
            "read_only": self.config.read_only,
            "uptime": round(time.monotonic() - self._began, 3),
            "rss": resident_bytes(),
            "log_file": str(self.config.log_file or ""),
            **statistics,
            "requests": dataclasses.asdict(requests) if requests is not None else {},
        }

    def _refuse_a_second(self, where: RuntimeDir, name: str) -> None:
        """Two commands at once may both have found the directory free; FUSE would stack their mounts.

        A daemon that is stopping has lost its mount already, and only stores what is left.
        """
        try:
            with connected(where, name) as client:
                state, pid = client.ask("ping").get("state"), client.pid
        except VfsError:
            return  # nobody is there, or it hangs and the mount table has said what there is to say
        if state != "stopping" and same_mounts(pid):
            raise ConfigError(f"{self.config.mountpoint} is being mounted already, by pid {pid}")

    async def _serve(self) -> None:
        async with self.engine.fs.running():
            await self.engine.serve(self._ready)
            self._stopping()
            await self._make_durable()
        if error := self.engine.fs.statistics().last_error:
            log.debug("last error", error=error)

    def _ready(self) -> None:
        self.state = "serving"
        log.info("mounted", mountpoint=str(self.config.mountpoint), user=self.config.user, store=self.store)
        self.readiness.ready(f"{self.config.mountpoint} user={self.config.user}")

    def _stopping(self) -> None:
        if self.state != "stopping":
            self.state = "stopping"
            log.info("stopping", mountpoint=str(self.config.mountpoint))
            self.readiness.stopping()

    async def _make_durable(self) -> None:
        self._unstored = ""
        with trio.move_on_after(self.config.space_timeout) as scope:
            try:
                await self.engine.fs.drain()
            except VfsError as error:
                self._unstored = str(error)
        if scope.cancelled_caught:
            self._unstored = f"gave up after {self.config.space_timeout:g} s"
        if self._unstored:
            log.error("not everything could be stored", error=self._unstored)

    async def _obey_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        asked = False
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(*STOP_SIGNALS, signal.SIGUSR1) as signals:
                task_status.started()
                async for number in signals:
                    if number == signal.SIGUSR1:
                        log.info("status", **self.status())
                    elif asked:
                        await self._force()
                    else:
                        asked = True
                        log.info("signal", name=signal.Signals(number).name)
                        nursery.start_soon(self._end)

    async def _end(self) -> None:
        """Everything durable while programs still can see the mount, then away with it, busy or not."""
        if self.state == "starting":
            self._scope.cancel()
            return
        self._stopping()
        await self._make_durable()
        self.engine.stop()

    async def _force(self) -> None:
        """Someone insists: the mount must not outlive this process, and nothing is waited for."""
        statistics = self.engine.fs.statistics()
        log.error("forced to end", unstored_bytes=statistics.dirty_bytes)
        await trio.to_thread.run_sync(lambda: detach(self.config.mountpoint, lazy=True))
        os._exit(1)

    async def _ping(self, _args: Mapping[str, Any], _progress: Progress) -> Mapping[str, Any]:
        return {"pid": os.getpid(), "version": self.version, "state": self.state}

    async def _status(self, _args: Mapping[str, Any], _progress: Progress) -> Mapping[str, Any]:
        return self.status()

    async def _drain(self, args: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
        seconds = bounded(args.get("timeout"), self.config.space_timeout, LONGEST_DRAIN)

        def report(files: int, size: int) -> None:
            progress({"files": files, "bytes": size})

        statistics = self.engine.fs.statistics()
        report(statistics.dirty_files, statistics.dirty_bytes)
        with trio.move_on_after(seconds) as scope:
            await self.engine.fs.drain(report)
        if scope.cancelled_caught:
            raise VfsError(f"not everything could be stored within {seconds:g} s")
        return {}

    async def _stop(self, _args: Mapping[str, Any], _progress: Progress) -> Mapping[str, Any]:
        self.engine.stop()
        return {}

    async def _refresh(self, args: Mapping[str, Any], _progress: Progress) -> Mapping[str, Any]:
        path = args.get("path")
        if not isinstance(path, str):
            raise VfsError("refresh what? A path relative to the mount is expected")
        await self.engine.fs.ask_again(path)
        return {}

    def _plain(self, error: BaseException) -> BaseException:
        if isinstance(error, trio.TooSlowError):
            return VfsError(f"{self.config.mountpoint} was mounted and did not answer in time")
        return error


def same_mounts(pid: int) -> bool:
    """That process sees the mounts that this one sees (mount_namespaces(7))."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:
        return False


def resident_bytes(status: Path = Path("/proc/self/status")) -> int:
    """VmRSS of this process."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
