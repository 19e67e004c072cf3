"""A bucket mounted by s3fs, beside or after a mount of ours, on the same keys.

Needs the Debian package s3fs.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tests.mountinfo import detach, mounted_at
from tests.servers.server import Server
from tests.watchdog import Watchdog

READY_SECONDS = 30.0
LIFE_SECONDS = 90.0


class S3fs:
    """What lies under one prefix of the bucket, at `root`. It remembers nothing from one mount to the next."""

    def __init__(self, base: Path, server: Server, prefix: str) -> None:
        assert shutil.which("s3fs"), "no s3fs: run deploy/system-packages.sh test"
        self.root = base / "s3fs"
        self._base = base
        self._server = server
        self._prefix = prefix.strip("/")
        self._log = base / "s3fs.log"
        self._password = base / "s3fs.password"
        self.root.mkdir()
        self._password.touch(mode=0o600)
        self._password.write_text(f"{server.access_key}:{server.secret_key}")
        self._daemon: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> Path:
        with self._log.open("ab") as log:
            self._daemon = subprocess.Popen(
                self._command(), cwd=self._base, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_SECONDS
        while not (entry := mounted_at(self.root)):
            assert self._daemon.poll() is None, f"s3fs ended at once\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"s3fs has not mounted\n{self._log.read_text()}"
            time.sleep(0.02)
        self._watchdog = Watchdog(LIFE_SECONDS, self._daemon.pid, entry)
        return self.root

    def __exit__(self, *_: object) -> None:
        assert self._daemon is not None
        detach(self.root)
        self._daemon.terminate()
        self._daemon.wait(READY_SECONDS)
        watchdog, self._watchdog = self._watchdog, None
        assert watchdog is None or watchdog.release(), f"s3fs hung\n{self._log.read_text()}"

    def _command(self) -> list[str]:
        server = self._server
        options = [
            f"url={server.endpoint}",
            f"endpoint={server.region}",
            f"passwd_file={self._password}",
            f"tmpdir={self._base}",
            "use_path_request_style",
            "use_xattr",
            "dbglevel=warn",
        ]
        argv = ["s3fs", f"{server.bucket}:/{self._prefix}", str(self.root), "-f"]
        return [*argv, "-o", ",".join(options)]
