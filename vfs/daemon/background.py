"""Starts the daemon in the background: the same command again, in a session of its own, with a pipe to report on.

No fork without exec: threads and an event loop do not survive one. The parent returns when the child has said that
the mount answers and the parent has seen it answer; whatever else happens, neither process nor mount is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfs.daemon.detach import detach
from vfs.daemon.glance import glance
from vfs.daemon.mount_table import mounted_at
from vfs.daemon.readiness import READY_FD
from vfs.daemon.runtime_dir import mount_id, opened, runtime_dir
from vfs.errors import ConfigError, VfsError

START_SECONDS = 30.0
END_SECONDS = 10.0
MESSAGE_BYTES = 64 << 10


def same_command() -> list[str]:
    """What started this process, to be started again."""
    return [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]


def default_log_file(user: str, mountpoint: Path, environ: Mapping[str, str] | None = None) -> Path:
    """$XDG_STATE_HOME/agentfs, or /var/log/agentfs for root; the runtime directory where neither can be written.

    A container that runs as a uid without a home has only the last. The directory exists when this returns.
    """
    environ = os.environ if environ is None else environ
    state, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if state.startswith("/"):
        base = Path(state)
    elif os.geteuid() == 0:
        base = Path("/var/log")
    else:
        base = Path(home or "/") / ".local" / "state"
    name = f"{user}-{mount_id(mountpoint)}.log"
    with contextlib.suppress(OSError):
        directory = base / "agentfs"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(directory, os.W_OK):
            return directory / name
    with opened(runtime_dir(), create=True) as where:
        return where.path / name


@dataclass(frozen=True, slots=True)
class Background:
    """One start. `command` must report through the descriptor named by AGENTFS_READY_FD (`Readiness`)."""

    command: Sequence[str]
    mountpoint: Path
    log_file: Path
    seconds: float = START_SECONDS

    def start(self) -> int:
        """The daemon's pid. Raises VfsError with the daemon's own reason; nothing is left behind then."""
        descriptor = self._open_log()
        reading, writing = os.pipe()
        child = None
        try:
            with _interrupts_held():
                child = self._spawn(descriptor, writing)
            deadline = time.monotonic() + self.seconds
            self._await_ready(child, reading, deadline)
            self._await_answer(deadline)
        except BaseException:  # also Ctrl-C: nothing may be left behind
            if child is not None:
                self._clear_away(child)
            raise
        finally:
            os.close(reading)
        child.returncode = 0  # it is not ours to wait for; without this, Popen warns that it still runs
        return child.pid

    def _spawn(self, descriptor: int, writing: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=(writing,),
                start_new_session=True,
                env={**os.environ, READY_FD: str(writing)},
            )
        finally:
            os.close(descriptor)
            os.close(writing)

    def _open_log(self) -> int:
        try:
            return os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"log file {self.log_file}: {error.strerror}: choose another with --log-file"
            ) from error

    def _await_ready(self, child: subprocess.Popen[bytes], reading: int, deadline: float) -> None:
        said = b""
        while b"\n" not in said:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([reading], [], [], left)[0]:
                raise VfsError(f"the daemon was not ready within {self.seconds:g} s; see {self.log_file}")
            data = os.read(reading, MESSAGE_BYTES)
            if not data:
                raise VfsError(self._obituary(child))
            said += data
        message = json.loads(said)
        if "error" in message:
            raise VfsError(str(message["error"]))

    def _await_answer(self, deadline: float) -> None:
        seen = glance(self.mountpoint, max(1.0, deadline - time.monotonic()))
        if not seen.answers:
            reason = os.strerror(seen.errno)
            raise VfsError(
                f"{self.mountpoint} was mounted and does not answer ({reason}); see {self.log_file}"
            )

    def _obituary(self, child: subprocess.Popen[bytes]) -> str:
        """The pipe broke without a word."""
        try:
            code = child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return f"the daemon reports nothing; see {self.log_file}"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"the daemon {how} before the mount answered; see {self.log_file}"

    def _clear_away(self, child: subprocess.Popen[bytes]) -> None:
        """It gets a chance to unmount by itself; then it is killed and its mount taken away."""
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(END_SECONDS)
        entry = mounted_at(self.mountpoint)
        # One that answers is not our child's: another command was faster.
        if entry is not None and entry.is_agentfs and glance(self.mountpoint).dead:
            detach(self.mountpoint, lazy=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A Ctrl-C within is heard at the end: by then it is known which process was started, and must be ended."""
    if threading.current_thread() is not threading.main_thread():  # signals are not for this one
        yield
        return
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        signal.raise_signal(signal.SIGINT)
