"""OpenStack Swift with its S3 interface: stricter than MiniStack, and without conditional writes.

It enforces parts of 5 MiB, their order, body hashes and key lengths. `if-match` on a write answers 501,
`if-none-match` is not atomic, tags are missing. One proxy and one of each server behind it, on one replica.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.mountinfo import remove_tree
from tests.servers.server import Process, Server, free_port, installed

PYTHON = ".venv-swift/bin/python"
NODE = Path(__file__).with_name("swift_node.py")
REGION = "us-east-1"
BUCKET = "agentfs-test"
SECRET = "swift-tests-only"

BACKENDS = ("account", "container", "object")
RAM = Path("/dev/shm")

_CONSTRAINTS = """\
[swift-hash]
swift_hash_path_prefix = agentfs
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
[swift-constraints]
max_header_size = 16384
max_meta_value_length = 2048
max_meta_overall_size = 8192
"""

# workers = 0 serves in the process that was started, which can then be paused and ended by its id.
_COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {etc}
log_level = WARNING
"""

_BACKEND = """\
devices = {devices}
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
allow_versions = true
"""

_FILTERS = {
    "catch_errors": "",
    "gatekeeper": "",
    "cache": "",
    "listing_formats": "",
    "bulk": "",
    "s3api": "location = us-east-1\nmin_segment_size = 5242880\nmax_bucket_listing = 1000\n",
    "tempauth": f"user_test_tester = {SECRET} .admin\nuser_test_stranger = {SECRET}\n",
    "copy": "",
    "slo": "allow_async_delete = false\n",
    "versioned_writes": "allow_versioned_writes = true\nallow_object_versioning = true\n",
    "symlink": "",
}
_EGGS = {"cache": "memcache"}

_PROXY = """\
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
"""


class Swift:
    """A running Swift with one bucket. Its data survive `stop` and `start`, and go with `close`."""

    def __init__(self) -> None:
        self._python = installed(PYTHON)
        self._directory = _scratch()
        self._processes: list[Process] = []
        self.port, *self._ports = _free_ports(1 + len(BACKENDS))
        self.server = Server(f"http://127.0.0.1:{self.port}", REGION, BUCKET, "test:tester", SECRET)
        try:
            self._configure()
            self.start()
            self.server.client.make_bucket()
        except BaseException:
            self.close()
            raise

    @property
    def stranger(self) -> Server:
        """A key that is valid and may do nothing."""
        return replace(self.server, access_key="test:stranger")

    def start(self) -> None:
        assert not self._processes, "already started"
        ports = dict(zip((*BACKENDS, "proxy"), (*self._ports, self.port), strict=True))
        for name in ports:
            argv: list[str | Path] = [self._python, "-P", NODE, "serve", self._etc, name]
            self._processes.append(Process(f"swift-{name}", argv, self._environment(), self._directory))
        for process, port in zip(self._processes, ports.values(), strict=True):
            process.wait_for(port)

    def stop(self) -> None:
        while self._processes:
            self._processes.pop().stop()

    def pause(self) -> None:
        """Takes connections and answers nothing, as a store does whose network is gone."""
        for process in self._processes:
            process.pause()

    def resume(self) -> None:
        for process in self._processes:
            process.resume()

    def close(self) -> None:
        self.stop()
        remove_tree(self._directory)

    @property
    def _etc(self) -> Path:
        return self._directory / "etc"

    def _configure(self) -> None:
        devices = self._directory / "devices"
        (devices / "d1").mkdir(parents=True)
        self._etc.mkdir()
        user = pwd.getpwuid(os.getuid()).pw_name
        self._write("swift.conf", _CONSTRAINTS)
        for name, port in zip(BACKENDS, self._ports, strict=True):
            text = _COMMON.format(port=port, user=user, etc=self._etc)
            self._write(f"{name}-server.conf", text + _BACKEND.format(name=name, devices=devices))
        pipeline = f"[pipeline:main]\npipeline = {' '.join(_FILTERS)} proxy-server\n"
        text = _COMMON.format(port=self.port, user=user, etc=self._etc) + pipeline
        self._write("proxy-server.conf", text + "".join(_sections()) + _PROXY)
        argv = [str(self._python), "-P", str(NODE), "rings", str(self._etc), *map(str, self._ports)]
        done = subprocess.run(
            argv, env=self._environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"Swift's rings: {done.stderr}"

    def _write(self, name: str, text: str) -> None:
        (self._etc / name).write_text(text)

    def _environment(self) -> dict[str, str]:
        place = {"HOME": str(self._directory), "TMPDIR": str(self._directory)}
        return {"PATH": os.environ.get("PATH", os.defpath), **place}


def _scratch() -> Path:
    """A directory in RAM where there is one; what test runs that were killed left there goes first."""
    base = RAM if RAM.is_dir() else Path(tempfile.gettempdir())
    for left in base.glob("agentfs-swift-*-*"):
        owner = left.name.split("-")[2]
        if owner.isdigit() and not Path("/proc", owner).exists():
            remove_tree(left)
    return Path(tempfile.mkdtemp(prefix=f"agentfs-swift-{os.getpid()}-", dir=base))


def _sections() -> Iterator[str]:
    for name, settings in _FILTERS.items():
        yield f"[filter:{name}]\nuse = egg:swift#{_EGGS.get(name, name)}\n{settings}"


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)
