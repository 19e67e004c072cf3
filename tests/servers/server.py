"""What a test is given of an S3 server, whichever it is, and the processes behind those that tests start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.servers.client import Client

PROJECT = Path(__file__).resolve().parents[2]
INSTALL = "run: make servers"

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where to find an S3 server, one bucket on it, and a key that may do everything in there."""

    endpoint: str
    region: str
    bucket: str
    access_key: str
    secret_key: str

    @property
    def env(self) -> dict[str, str]:
        """For a child process: these credentials, and nothing of whoever runs the tests."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    @property
    def client(self) -> Client:
        return Client(self.endpoint, self.region, self.access_key, self.secret_key, self.bucket)

    def store_url(self, prefix: str = "", **options: str) -> str:
        """The URL for `agentfs --store`. `options` are added to its query."""
        query = urlencode({"endpoint": self.endpoint, "region": self.region} | options)
        return f"s3://{self.bucket}/{prefix}?{query}"

    def through(self, endpoint: str) -> Server:
        """The same server behind a proxy."""
        return replace(self, endpoint=endpoint)

    def with_bucket(self, bucket: str) -> Server:
        """The same server, with another bucket that is made if it is not there."""
        other = replace(self, bucket=bucket)
        other.client.make_bucket()
        return other


class Process:
    """One server process. It ends with this one, however this one ends."""

    def __init__(
        self, name: str, argv: Sequence[str | Path], env: Mapping[str, str], directory: Path
    ) -> None:
        self.log = directory / f"{name}.log"
        self._name = name
        # util-linux, which Debian and Ubuntu always have: a test run that is killed leaves no server behind.
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)],
                env=dict(env),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def __repr__(self) -> str:
        return f"<Process {self._name} pid={self.pid} running={self.running}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, port: int, ready: Callable[[], bool] = lambda: True) -> None:
        """Returns when the port is open and `ready` agrees. Raises AssertionError when that does not happen."""
        deadline = time.monotonic() + START_SECONDS
        while not (_open(port) and ready()):
            assert self.running, f"{self._name} ended at once\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self._name} is not ready after {START_SECONDS:.0f} s"
            time.sleep(0.02)

    def pause(self) -> None:
        """Stops answering; connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def installed(program: str) -> Path:
    """A server's program in its virtual environment, `NAME/bin/PROGRAM`; the test fails when it is missing."""
    path = PROJECT / program
    assert path.exists(), f"{path} is missing; {INSTALL}"
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_of(endpoint: str) -> int:
    parts = urlsplit(endpoint)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
