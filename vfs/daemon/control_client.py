"""The other end of the control socket, for commands: blocking, and never longer than it was told to.

The kernel says which process answers (SO_PEERCRED, unix(7)), so a daemon's pid is known even when it hangs.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vfs.daemon.control import VERSION
from vfs.daemon.runtime_dir import RuntimeDir, opened, search_places, socket_name
from vfs.errors import ConfigError, VfsError

SECONDS = 5.0
"""For what a living daemon answers at once."""

LINE_BYTES = 4 << 20


class NoDaemon(VfsError):
    """Nobody listens."""


class Hung(VfsError):
    """Somebody listens and does not answer in time."""


class Refused(VfsError):
    """The daemon answered, and said no."""


@dataclass(slots=True)
class Client:
    """A connection. `pid` and `uid` are the daemon's, as the kernel knows them."""

    sock: socket.socket
    pid: int
    uid: int
    _pending: bytearray = field(default_factory=bytearray)

    def ask(
        self,
        command: str,
        args: Mapping[str, Any] | None = None,
        *,
        seconds: float = SECONDS,
        progress: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> Mapping[str, Any]:
        """The result. Raises Refused with the daemon's reason, Hung after `seconds` without any."""
        deadline = time.monotonic() + seconds
        request = json.dumps({"v": VERSION, "cmd": command, "args": args or {}}).encode() + b"\n"
        try:
            self.sock.settimeout(seconds)
            self.sock.sendall(request)
            while True:
                answer = self._answer(deadline)
                if "progress" not in answer:
                    break
                if progress is not None:
                    progress(answer["progress"])
        except TimeoutError as error:
            raise Hung(
                f"the daemon (pid {self.pid}) did not answer `{command}` within {seconds:g} s"
            ) from error
        except OSError as error:
            raise NoDaemon(f"the daemon (pid {self.pid}) went away") from error
        if not answer.get("ok"):
            raise Refused(str(answer.get("error", "no reason given")))
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    def _answer(self, deadline: float) -> dict[str, Any]:
        while (end := self._pending.find(b"\n")) < 0:
            if len(self._pending) > LINE_BYTES:
                raise Refused("the daemon's answer is too long")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(left)
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            self._pending += data
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise Refused("the daemon's answer is not JSON") from error
        if not isinstance(answer, dict) or answer.get("v") != VERSION:
            raise Refused("the daemon is of another version: unmount with the agentfs that mounted")
        return answer


@contextmanager
def connected(where: RuntimeDir, name: str) -> Iterator[Client]:
    """Raises NoDaemon when nobody listens there, Hung when the queue is full."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(SECONDS)
        try:
            sock.connect(where.address(name))
        except (TimeoutError, BlockingIOError) as error:
            raise Hung("the daemon does not answer") from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NoDaemon("nobody listens") from error
        except OSError as error:
            raise VfsError(f"cannot reach the daemon: {error.strerror}") from error
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", raw)
        yield Client(sock, pid, uid)
    finally:
        sock.close()


@contextmanager
def daemon_of(mountpoint: Path, owner: int | None = None) -> Iterator[Client]:
    """The daemon that serves a mountpoint. `owner` is the uid that mounted it, where that is another's.

    Raises NoDaemon, Hung; ConfigError when the runtime directory cannot be trusted.
    """
    with ExitStack() as stack:
        yield _reached(stack, mountpoint, owner)


def _reached(stack: ExitStack, mountpoint: Path, owner: int | None) -> Client:
    name = socket_name(mountpoint)
    failure: VfsError = NoDaemon(f"no daemon serves {mountpoint}")
    for path, uid in search_places(owner):
        try:
            where = stack.enter_context(opened(path, owner=uid))
            if name in where.sockets():
                return stack.enter_context(connected(where, name))
        except FileNotFoundError:
            continue
        except (NoDaemon, ConfigError) as error:
            failure = error
    raise failure
