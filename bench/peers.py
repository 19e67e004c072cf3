"""The mounts that are compared: how each is started with options its users would take, looked at, and ended.

A mount that hangs freezes whoever touches it, so each has a watchdog, and ends by its own pid and its own FUSE
connection.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mountinfo import detach, mounted_at, remove_tree
from tests.servers.client import Client
from tests.servers.server import PROJECT, Server
from tests.watchdog import Watchdog

READY_SECONDS = 30.0
STOP_SECONDS = 30.0
LIFE_SECONDS = 240.0
PROGRAM_SECONDS = 120.0
RCLONE = Path(sys.executable).with_name("rclone")


class Missing(Exception):
    """Something this comparison needs is not here; the message says what to do."""


class Peer:
    """One program, one prefix of the bucket, and a mount of it while it is started."""

    name = ""

    def __init__(self, base: Path, server: Server, direct: Client) -> None:
        self.base = base
        self.server = server
        self.direct = direct
        """The same server, past the proxy."""
        self.prefix = "none"
        self.point = base / "mnt"
        self.cache = base / "cache"
        """All that this program may write on the local disk, but for its log."""
        self.log = base / "log"
        self.settings: dict[str, str] = {}
        """More environment for the daemon."""
        for directory in (self.point, self.cache, base / "home"):
            directory.mkdir(parents=True, mode=0o700)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None

    @classmethod
    def version(cls) -> str:
        """Raises Missing where the program is not installed."""
        raise NotImplementedError

    @property
    def root(self) -> Path:
        """Where programs work."""
        return self.point

    @property
    def keys(self) -> str:
        """What the keys of files in `root` start with."""
        return f"{self.prefix}/"

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def pending(self) -> bool:
        """Whether it says that something is still to be uploaded."""
        return False

    def start(self) -> None:
        """Mounts, with nothing on the local disk. Raises Missing when that does not succeed."""
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                self.command(),
                env=self._env(),
                cwd=self.base,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C ends the mounts in order, through `close`
            )
        deadline = time.monotonic() + READY_SECONDS
        while not (entry := mounted_at(self.point)):
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"{self.name} does not mount: {self.tail()}")
            time.sleep(0.01)
        self._watchdog = Watchdog(LIFE_SECONDS, self._daemon.pid, entry)
        self.run("stat", self.root)

    def stop(self) -> None:
        """As a service manager does it: SIGTERM, and time to end."""
        if self._daemon is not None:
            self._daemon.terminate()
            try:
                self._daemon.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
        self.close()

    def close(self) -> None:
        """Leaves neither mount nor process, and nothing on the local disk, whatever state it is in."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.kill()
        detach(self.point)
        if daemon is not None:
            daemon.wait(STOP_SECONDS)
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.release()
        for path in self.cache.iterdir():
            remove_tree(path)

    def run(self, *argv: str | Path, seconds: float = PROGRAM_SECONDS) -> subprocess.CompletedProcess[str]:
        """A program that touches the mount; the caller judges the outcome. Code 124: it did not end in time."""
        with subprocess.Popen(
            [str(word) for word in argv],
            env={"PATH": os.environ["PATH"], "HOME": str(self.base / "home"), "LC_ALL": "C.UTF-8"},
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                said, errors = child.communicate(timeout=seconds)
            except BaseException as error:
                # No signal ends a call into a mount that does not answer: daemon and mount have to go first.
                child.kill()
                if self._daemon is not None:
                    self._daemon.kill()
                detach(self.point)
                child.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    return subprocess.CompletedProcess(child.args, 124, "", f"not done after {seconds:.0f} s")
                raise
        return subprocess.CompletedProcess(child.args, child.returncode, said, errors)

    def written(self) -> int:
        """Bytes that the daemon has sent towards the local disk (proc(5), io)."""
        assert self._daemon is not None
        found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{self._daemon.pid}/io").read_text(), re.M)
        assert found
        return int(found[1])

    def kept(self) -> int:
        """Bytes that lie on the local disk now. A file that was unlinked while open shows in `written` only."""
        return int(subprocess.check_output(["du", "-s", "-B1", self.cache], text=True, timeout=30).split()[0])

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it says nothing"

    def _env(self) -> Mapping[str, str]:
        common = {"PATH": os.environ["PATH"], "HOME": str(self.base / "home"), "TMPDIR": str(self.cache)}
        return common | {"XDG_RUNTIME_DIR": str(self.base / "home")} | self.settings


class Agentfs(Peer):
    """As it is out of the box."""

    name = "agentfs"

    @classmethod
    def version(cls) -> str:
        done = subprocess.run(
            ["git", "-C", PROJECT, "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() or "without a commit"

    @property
    def root(self) -> Path:
        return self.point / "workspace"

    @property
    def keys(self) -> str:
        return f"{self.prefix}/users/u1/workspace/"

    def command(self) -> Sequence[str]:
        argv = [sys.executable, "-m", "mount", "mount", str(self.point), "-f", "--user", "u1"]
        return [
            *argv,
            "--store",
            self.server.store_url(self.prefix),
            "--log-file",
            str(self.base / "agentfs.log"),
        ]

    def _env(self) -> Mapping[str, str]:
        return {**super()._env(), **self.server.env, "PYTHONPATH": str(PROJECT)}


class S3fs(Peer):
    """With what spares it requests: it remembers absent names, and looks for no other program's directories."""

    name = "s3fs"

    @classmethod
    def version(cls) -> str:
        if not shutil.which("s3fs"):
            raise Missing("no s3fs: run deploy/system-packages.sh test")
        said = subprocess.check_output(["s3fs", "--version"], text=True, timeout=30)
        return next(iter(re.findall(r"V([\d.]+)", said)), "?")

    def command(self) -> Sequence[str]:
        # It refuses to mount a prefix that is not there.
        self.direct.put(self.keys, headers={"content-type": "application/x-directory"})
        password = self.base / "password"
        password.touch(mode=0o600)
        password.write_text(f"{self.server.access_key}:{self.server.secret_key}")
        options = [
            f"url={self.server.endpoint}",
            f"endpoint={self.server.region}",
            f"passwd_file={password}",
            f"tmpdir={self.cache}",
            "use_path_request_style",
            "enable_noobj_cache",
            "notsup_compat_dir",
        ]
        place = f"{self.server.bucket}:/{self.prefix}"
        return ["s3fs", place, str(self.point), "-f", "-o", ",".join(options)]


class RcloneWrites(Peer):
    """Its defaults, with the least cache that lets programs write at any offset."""

    name = "rclone writes"
    flags: tuple[str, ...] = ("--vfs-cache-mode", "writes")

    @classmethod
    def version(cls) -> str:
        if not RCLONE.exists():
            raise Missing(f"no {RCLONE}: run make check, which installs what the tests need")
        said = subprocess.check_output([RCLONE, "version"], text=True, timeout=30)
        return next(iter(re.findall(r"v([\d.]+)", said)), "?")

    def command(self) -> Sequence[str]:
        self._socket.unlink(missing_ok=True)  # one that was killed leaves it
        argv = [
            str(RCLONE),
            "mount",
            f"store:{self.server.bucket}/{self.prefix}",
            str(self.point),
            *self.flags,
        ]
        # It sends its body without waiting for the 100 it asked for, which the proxy takes for the answer.
        argv += ["--header", "Expect: "]
        return [*argv, "--cache-dir", str(self.cache), "--rc", "--rc-addr", f"unix://{self._socket}"]

    def pending(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(10)
            asked.connect(str(self._socket))
            asked.sendall(b"POST /vfs/stats HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
            answer = b"".join(iter(lambda: asked.recv(65536), b""))
        cache = json.loads(answer.partition(b"\r\n\r\n")[2])["diskCache"]
        return bool(cache["uploadsInProgress"] or cache["uploadsQueued"])

    @property
    def _socket(self) -> Path:
        return self.base / "rc"

    def _env(self) -> Mapping[str, str]:
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENDPOINT": self.server.endpoint,
            "REGION": self.server.region,
            "ACCESS_KEY_ID": self.server.access_key,
            "SECRET_ACCESS_KEY": self.server.secret_key,
        }
        remote = {f"RCLONE_CONFIG_STORE_{name}": text for name, text in settings.items()}
        return {**super()._env(), **remote, "RCLONE_CONFIG": os.devnull}


class RcloneFull(RcloneWrites):
    """What its manual recommends for programs, and for S3: what is read is cached too, times are the store's."""

    name = "rclone full"
    flags = ("--vfs-cache-mode", "full", "--use-server-modtime")


PEERS: tuple[type[Peer], ...] = (Agentfs, S3fs, RcloneWrites, RcloneFull)
