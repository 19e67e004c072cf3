"""A redis-server (Debian: redis-server), in RAM only, on a free port of 127.0.0.1 and on a socket."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import redis

from tests.mountinfo import remove_tree
from tests.servers.certificates import Authority, Certificate
from tests.servers.server import START_SECONDS, Process, free_port

PROGRAM = "redis-server"


def tls_options(authority: Authority, certificate: Certificate) -> dict[str, str]:
    """For a server or a Sentinel that speaks TLS as well, which shows `certificate` and asks for none."""
    return {
        "tls_port": str(free_port()),
        "tls_cert_file": str(certificate.certificate),
        "tls_key_file": str(certificate.key),
        "tls_ca_cert_file": str(authority.certificate),
        "tls_auth_clients": "no",
    }


class RedisServer:
    """Running from the start. `options` are those of redis.conf: `RedisServer(maxmemory="2mb")`."""

    def __init__(self, **options: str) -> None:
        program = shutil.which(PROGRAM)
        assert program, f"{PROGRAM} is missing; run: make test"
        self._directory = Path(tempfile.mkdtemp(prefix="agentfs-redis-"))
        self._program = program
        self.options = options
        self.password = options.get("requirepass", "")
        self.port = free_port()
        self.socket = self._directory / "redis.sock"
        self.process: Process | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def tls_port(self) -> int:
        return int(self.options["tls_port"])

    @property
    def socket_url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """As it was before, on the same port; empty, unless it was stopped with `save`."""
        argv = [self._program, "--port", str(self.port), "--unixsocket", str(self.socket)]
        for name, value in {"bind": "127.0.0.1", "save": "", "daemonize": "no"}.items():
            argv += [f"--{name}", value]
        for name, value in self.options.items():
            argv += [f"--{name.replace('_', '-')}", *value.split()]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._directory)}
        self.process = Process("redis", argv, environment, self._directory)
        self.process.wait_for(self.port, self._ready)

    def ask(self, *words: Any) -> Any:
        """One command, over a connection of its own."""
        with redis.Redis(
            unix_socket_path=str(self.socket),
            password=self.password or None,
            protocol=2,
            decode_responses=True,
        ) as client:
            return client.execute_command(*words)

    def calls(self, command: str) -> int:
        """How often it was asked that by clients and scripts, since it began or was told to forget."""
        return int(self.ask("INFO", "commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])

    def pause(self) -> None:
        assert self.process is not None
        self.process.pause()

    def resume(self) -> None:
        assert self.process is not None
        self.process.resume()

    def stop(self, *, save: bool = False) -> None:
        if self.process is not None:
            if save:
                self.ask("SAVE")
            self.process.stop()
            self.process = None

    def restart(self, *, save: bool = False) -> None:
        self.stop(save=save)
        self.start()

    def close(self) -> None:
        self.stop()
        remove_tree(self._directory)

    def _ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


class RedisSentinel:
    """Watches `primary` and its replicas under the name `main`, alone, and lets one take over within seconds.

    With `options` of sentinel.conf for TLS it speaks that with everybody.
    """

    def __init__(self, primary: RedisServer, **options: str) -> None:
        program = shutil.which(PROGRAM)
        assert program, f"{PROGRAM} is missing; run: make test"
        self._directory = Path(tempfile.mkdtemp(prefix="agentfs-sentinel-"))
        self.port = free_port()
        watched = primary.tls_port if "tls_port" in options else primary.port
        path = self._directory / "sentinel.conf"
        lines = [
            *(f"{name.replace('_', '-')} {value}" for name, value in options.items()),
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor main 127.0.0.1 {watched} 1",
            "sentinel down-after-milliseconds main 300",
            "sentinel failover-timeout main 3000",
        ]
        path.write_text("\n".join(lines) + "\n")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._directory)}
        self.process = Process("sentinel", [program, str(path), "--sentinel"], environment, self._directory)
        self.process.wait_for(self.port)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main/0"

    def ask(self, *words: Any) -> Any:
        with redis.Redis(port=self.port, protocol=2, decode_responses=True) as client:
            return client.execute_command(*words)

    def close(self) -> None:
        self.process.stop()
        remove_tree(self._directory)


def with_replica(stack: ExitStack) -> tuple[RedisServer, RedisServer, RedisSentinel]:
    """A primary, its replica, and who lets that take over."""
    primary, replica = [stack.enter_context(closing(RedisServer())) for _ in range(2)]
    replica.ask("REPLICAOF", "127.0.0.1", primary.port)
    _until(lambda: replica.ask("INFO", "replication").get("master_link_status") == "up")
    sentinel = stack.enter_context(closing(RedisSentinel(primary)))
    _until(lambda: int(sentinel.ask("INFO", "sentinel")["master0"]["slaves"]) == 1)
    return primary, replica, sentinel


def _until(agrees: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not agrees():
        assert time.monotonic() < deadline, "the replica is not ready"
        time.sleep(0.05)
