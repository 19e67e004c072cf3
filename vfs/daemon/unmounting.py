"""`agentfs umount`: everything durable, then away with the mount, then see the daemon gone.

Without --force nothing is ever given up: not for a busy mount, not for a store that is away, not for a daemon that
does not answer. With it the mount goes, step by step: asked, detached, aborted in the kernel, killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfs.daemon.control_client import Client, Hung, NoDaemon, Refused, daemon_of
from vfs.daemon.detach import detach
from vfs.daemon.glance import glance
from vfs.daemon.holders import holders, mounts_on
from vfs.daemon.mount_table import MountEntry, mounted_at
from vfs.errors import ConfigError, VfsError

FORCE_SECONDS = 10.0
"""Without --timeout, what --force gives a living daemon to store what it has."""

GRACE_SECONDS = 5.0

Report = Callable[[Mapping[str, Any]], None]


class Busy(VfsError):
    """Someone uses the mount. `who` is one line each."""

    def __init__(self, point: Path, who: Sequence[str]) -> None:
        super().__init__(f"{point} is busy: end what uses it and try again, or --force")
        self.who = tuple(who)


@dataclass(frozen=True, slots=True)
class Unmounting:
    """One unmount. `seconds` is the deadline for making everything durable, and for the daemon to end."""

    point: Path
    seconds: float
    report: Report

    def run(self) -> None:
        """Raises VfsError, and leaves everything as it is, if the mount cannot or may not go."""
        entry = self._entry()
        try:
            with daemon_of(self.point, entry.owner) as client, pidfd(client.pid) as handle:
                self._drain(client)
                self._detach(entry)
                self._await_end(client.pid, handle)
        except NoDaemon as error:
            raise ConfigError(self._no_daemon(entry, error)) from error
        except Hung as error:
            raise VfsError(f"{error}; `agentfs umount --force` gives up what it has not stored") from error

    def force(self) -> str:
        """Takes the mount away, whatever it costs. Says what was lost, or may have been; empty if nothing."""
        entry = self._entry()
        lost = ""
        try:
            with daemon_of(self.point, entry.owner) as client, pidfd(client.pid) as handle:
                hung = False
                try:
                    self._drain(client)
                except VfsError as error:
                    hung = isinstance(error, Hung)
                    lost = f"given up what was not stored: {error}"
                self._force_away(entry, client, handle, hung=hung)
        except (NoDaemon, Hung, ConfigError) as error:
            if isinstance(error, Hung) or not glance(self.point).dead:
                lost = lost or f"given up what its daemon had not stored: {error}"
            self._detach_lazily(entry)
        return lost

    def _entry(self) -> MountEntry:
        entry = mounted_at(self.point)
        if entry is None:
            raise ConfigError(f"{self.point} is not mounted: `agentfs status` lists what is")
        if not entry.is_agentfs:
            raise ConfigError(
                f"{self.point} is not an agentfs mount ({entry.fstype}): use `umount {self.point}`"
            )
        if entry.owner not in (None, os.geteuid()) and os.geteuid() != 0:
            raise ConfigError(f"{self.point} belongs to uid {entry.owner}: run this as that user, or as root")
        return entry

    def _drain(self, client: Client) -> None:
        try:
            client.ask(
                "drain", {"timeout": self.seconds}, seconds=self.seconds + GRACE_SECONDS, progress=self.report
            )
        except Refused as error:
            raise VfsError(
                f"{self.point} stays mounted, not everything could be stored: {error}; "
                "try again when the store answers, or --force gives that up"
            ) from error

    def _detach(self, entry: MountEntry) -> None:
        if others := mounts_on(entry):
            raise Busy(self.point, [f"mounted at {path}" for path in others])
        reason = detach(self.point)
        if not reason:
            return
        if "busy" in reason:
            raise Busy(self.point, [str(holder) for holder in holders(entry)])
        raise VfsError(f"{self.point} cannot be unmounted: {reason}")

    def _await_end(self, pid: int, handle: int | None) -> None:
        if not ended(pid, handle, self.seconds):
            raise VfsError(
                f"{self.point} is unmounted; its daemon (pid {pid}) still runs after {self.seconds:g} s"
            )

    def _no_daemon(self, entry: MountEntry, error: VfsError) -> str:
        if glance(entry.point).answers:
            return (
                f"cannot reach the daemon of {self.point} ({error}): unmount where it was mounted, or --force"
            )
        return f"{self.point} is a dead mount, its daemon is gone: use `agentfs umount --force {self.point}`"

    def _force_away(self, entry: MountEntry, client: Client, handle: int | None, *, hung: bool) -> None:
        """A daemon that does not answer is not asked again."""
        self._detach_lazily(entry)
        if not hung:
            with contextlib.suppress(VfsError):
                client.ask("stop", seconds=GRACE_SECONDS)
            if ended(client.pid, handle, GRACE_SECONDS):
                return
        abort(entry)
        for number in (signal.SIGKILL,) if hung else (signal.SIGTERM, signal.SIGKILL):
            send_signal(client.pid, handle, number)
            if ended(client.pid, handle, GRACE_SECONDS):
                return
        raise VfsError(f"the daemon (pid {client.pid}) cannot be ended; the mount is gone from {self.point}")

    def _detach_lazily(self, entry: MountEntry) -> None:
        if reason := detach(self.point, lazy=True):
            abort(entry)
            reason = detach(self.point, lazy=True)
        if reason and mounted_at(self.point):
            raise VfsError(f"{self.point} cannot be unmounted: {reason}")


def abort(entry: MountEntry) -> None:
    """Ends the FUSE connection in the kernel: all that waits for an answer gets an error."""
    with contextlib.suppress(OSError):
        (entry.connection / "abort").write_text("1")


@contextlib.contextmanager
def pidfd(pid: int) -> Any:
    """A handle of exactly this process, so that a pid that is used again cannot be mistaken; None if it has none."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def ended(pid: int, handle: int | None, seconds: float) -> bool:
    """Waits for the process's end, at most so long."""
    if handle is not None:
        return bool(select.select([handle], [], [], seconds)[0])
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def send_signal(pid: int, handle: int | None, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if handle is not None:
            signal.pidfd_send_signal(handle, number)
        elif pid > 0:
            os.kill(pid, number)
