"""A real mount for tests: the daemon in a process of its own, and a way out when it hangs.

A FUSE daemon that stops answering freezes whoever touches its mount, in a sleep that no signal ends. So
nothing here trusts the daemon: readiness is read from mountinfo and then asked by a child that may be killed,
and a watchdog holds the life line. When the deadline passes, or the test run itself dies, it kills the daemon and
aborts the FUSE connection, which makes every stuck system call return.

Needs from the system: /dev/fuse, fusermount3, bash, coreutils.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.mountinfo import Entry, detach, mounted_at
from tests.servers.server import Server
from tests.watchdog import Watchdog

PROJECT = Path(__file__).resolve().parent.parent

READY_SECONDS = 20.0
STOP_SECONDS = 30.0
WATCHDOG_SECONDS = 100.0

_LOUD = re.compile(r'\blevel["\']?\s*[:=]\s*["\']?(?:warn|error|crit|fatal)|^Traceback|^Fatal Python error')
"""A daemon's log line at WARNING or above, as logfmt or JSON; and what a dying interpreter prints."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a test may choose.

    `native=False` makes the file:// store behave as S3 does: no rename, no exchange, no metadata in listings.
    `fsync=False` spares the disk; only a power cut could tell, not a killed daemon.
    """

    user: str = "u1"
    server: Server | None = None
    """Mount its bucket instead of the embedded store."""
    prefix: str = ""
    """In that bucket; a mount has one of its own unless told."""
    query: tuple[tuple[str, str], ...] = ()
    """Options in the URL of an S3 store."""
    redis: str = ""
    """URL of a Redis to share with other mounts."""
    native: bool = True
    fsync: bool = False
    ram_limit: str = ""
    read_only: bool = False
    log_level: str = "info"
    flags: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    seconds: float = WATCHDOG_SECONDS
    """From creation until the watchdog ends everything."""


class Mount:
    """One mountpoint with its store, and the daemon that serves it while it is started."""

    def __init__(self, base: Path, options: Options, store_dir: Path | None = None) -> None:
        self.base = base
        self.options = options
        self.root = base / "mnt"
        self.workspace = self.root / "workspace"
        self.memory = self.root / "memory"
        self.store_dir = store_dir or base / "store"
        self.log = base / "log"
        self.output = base / "output"
        for directory in (self.root, self.store_dir, base / "home", base / "run"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._deadline = time.monotonic() + options.seconds
        self._daemon: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self._expected: list[re.Pattern[str]] = []
        self._failures: list[str] = []

    def __repr__(self) -> str:
        return f"<Mount {self.root} pid={self._daemon and self._daemon.pid} alive={self.alive}>"

    @property
    def user_dir(self) -> Path:
        """Where the file:// store keeps this user's objects."""
        return self.store_dir / "users" / self.options.user

    @property
    def prefix(self) -> str:
        """What the keys of an S3 store start with, in the bucket."""
        return self.options.prefix or "-".join(self.base.parts[-2:])

    @property
    def user_prefix(self) -> str:
        """What this user's objects start with on an S3 server, in the bucket."""
        return f"{self.prefix}/users/{self.options.user}/"

    @property
    def store_url(self) -> str:
        options = self.options
        if options.server is not None:
            return options.server.store_url(self.prefix, **dict(options.query))
        query = [*(["fsync=no"] if not options.fsync else []), *(["native=no"] if not options.native else [])]
        return f"file://{self.store_dir}" + (f"?{'&'.join(query)}" if query else "")

    @property
    def env(self) -> dict[str, str]:
        """Environment of every agentfs command of this mount: nothing of the caller's configuration."""
        ours = ("AGENTFS_", "AWS_", "XDG_", "REDIS_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        clean |= {"HOME": str(self.base / "home"), "XDG_RUNTIME_DIR": str(self.base / "run")}
        clean |= {"XDG_STATE_HOME": str(self.base / "home" / "state")}
        clean |= self.options.server.env if self.options.server else {}
        return clean | {"PYTHONFAULTHANDLER": "1", "PYTHONPATH": str(PROJECT)} | dict(self.options.env)

    @property
    def pid(self) -> int:
        assert self._daemon is not None, "not started"
        return self._daemon.pid

    @property
    def alive(self) -> bool:
        return self._daemon is not None and self._daemon.poll() is None

    @property
    def mounted(self) -> bool:
        return mounted_at(self.root) is not None

    def expect_log(self, pattern: str) -> None:
        """Declares that the daemon may log lines at WARNING or above in which this regex is found."""
        self._expected.append(re.compile(pattern))

    def status_kib(self, field: str) -> int:
        """A field of /proc/PID/status in KiB: VmRSS, VmHWM."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
        assert found, f"no {field} of process {self.pid}"
        return int(found[1])

    def agentfs(self, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs an agentfs command in this mount's environment; the caller judges the outcome."""
        return subprocess.run(
            [sys.executable, "-m", "mount", *args],
            env=self.env,
            cwd=self.base,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def command(self) -> list[str]:
        options = self.options
        argv = [sys.executable, "-m", "mount", "mount", str(self.root), "--user", options.user]
        argv += ["--store", self.store_url, "-f"]
        argv += ["--log-level", options.log_level, "--log-file", str(self.log)]
        argv += ["--ram-limit", options.ram_limit] if options.ram_limit else []
        argv += ["--read-only"] if options.read_only else []
        argv += ["--redis", options.redis] if options.redis else []
        return [*argv, *options.flags]

    def start(self) -> None:
        """Starts the daemon and returns when the mount answers. Raises AssertionError when it does not."""
        assert not self.alive, "already started"
        assert not self.mounted, f"{self.root} is still mounted"
        with self.output.open("ab") as output:
            self._daemon = subprocess.Popen(
                self.command(),
                env=self.env,
                cwd=self.base,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            entry = self._await_entry(time.monotonic() + READY_SECONDS)
            self._guard(entry)
            question = ["stat", str(self.workspace), str(self.memory)]
            subprocess.run(question, check=True, timeout=READY_SECONDS, capture_output=True)
        except (subprocess.SubprocessError, AssertionError) as error:
            self._clear_away()
            raise AssertionError(f"the mount did not come up: {error}\n{self.tail()}") from error

    def unmount(self) -> None:
        """`agentfs umount`: clean, or the test fails. Neither mount nor process is left afterwards."""
        try:
            done = self.agentfs("umount", str(self.root), timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"agentfs umount took over {STOP_SECONDS:.0f} s{self._last_words()}"
            ) from None
        said = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"agentfs umount: {done.returncode}\n{said}\n{self.tail()}"
        self._expect_end(0)

    def remount(self) -> None:
        self.unmount()
        self.start()

    def terminate(self, *, wait: bool = True, number: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM, or its like, which must make everything durable, unmount and exit with 0."""
        assert self._daemon is not None
        self._daemon.send_signal(number)
        if wait:
            self._expect_end(0)

    def kill9(self, *, detached: bool = True) -> None:
        """Ends the daemon without a chance to say goodbye. Its mount stays, dead, unless `detached`."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait(STOP_SECONDS)
        self._release_guard()
        if detached:
            detach(self.root)

    def crash_and_restart(self) -> None:
        """Kills the daemon if it still lives, clears away what it left mounted, and mounts again."""
        self.kill9()
        self.start()

    def close(self) -> None:
        """End of the test: leaves neither mount nor process, then tells what went wrong on the way."""
        if self.alive:
            try:
                self.terminate()
            except AssertionError as error:
                self._failures.append(str(error))
        self._clear_away()
        self._failures += self._undeclared()
        assert not self._failures, "\n".join([*self._failures, self.tail()])

    def clear_store(self) -> None:
        """Leaves nothing of this mount's prefix on an S3 server, which may be shared."""
        if self.options.server is not None:
            self.options.server.client.clear(f"{self.prefix}/")

    def tail(self, lines: int = 40) -> str:
        """The ends of the daemon's log and of its output, for failure messages."""
        parts = []
        for path in (self.output, self.log):
            text = path.read_text(errors="replace").splitlines() if path.exists() else []
            parts += [f"--- {path.name}, last {lines} lines", *text[-lines:]]
        return "\n".join(parts)

    def _await_entry(self, deadline: float) -> Entry:
        while not (entry := mounted_at(self.root)):
            assert self.alive, f"the daemon ended with {self._daemon and self._daemon.returncode}"
            assert time.monotonic() < deadline, f"not mounted after {READY_SECONDS:.0f} s"
            time.sleep(0.01)
        return entry

    def _guard(self, entry: Entry) -> None:
        left = max(1.0, self._deadline - time.monotonic())
        self._watchdog = Watchdog(left, self.pid, entry)

    def _release_guard(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None and not watchdog.release():
            self._failures.append(f"the watchdog ended the mount after {self.options.seconds:.0f} s")

    def _expect_end(self, code: int) -> None:
        assert self._daemon is not None
        try:
            ended = self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            late = f"the daemon did not end within {STOP_SECONDS:.0f} s"
            raise AssertionError(f"{late}{self._last_words()}") from None
        finally:
            self._release_guard()
        assert ended == code, f"the daemon ended with {ended}, not {code}\n{self.tail()}"
        assert not self.mounted, f"the daemon ended and left {self.root} mounted"

    def _last_words(self) -> str:
        """Ends a daemon that hangs, having it tell what it can.

        It answers SIGUSR1 with its status, in `log`, and faulthandler SIGABRT with the stack of every thread, in
        `output`.
        """
        assert self._daemon is not None
        place = "still mounted" if self.mounted else "not mounted any more"
        self._daemon.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._daemon.wait(1.0)
        self._daemon.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._daemon.wait(5.0)
        self._daemon.kill()
        self._daemon.wait(STOP_SECONDS)
        return f"; {self.root} was {place}\n{self.tail(80)}"

    def _clear_away(self) -> None:
        if self._daemon is not None and self.alive:
            self._daemon.kill()
        detach(self.root)
        if self._daemon is not None:
            self._daemon.wait(STOP_SECONDS)
        self._release_guard()

    def _undeclared(self) -> list[str]:
        found = []
        for path in (self.log, self.output):
            for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
                if _LOUD.search(line) and not any(known.search(line) for known in self._expected):
                    found.append(f"undeclared in {path.name}: {line}")
        return found
