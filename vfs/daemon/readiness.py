"""How a daemon tells whoever started it that the mount answers, or why it never will.

Two may be listening: `agentfs mount` itself, through a pipe whose descriptor it names in the environment, and
systemd, through the datagram socket of sd_notify(3), a protocol so small that a library would be larger.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

from vfs.errors import VfsError

READY_FD = "AGENTFS_READY_FD"


@dataclass(slots=True)
class Readiness:
    """The daemon's side. `descriptor` is the pipe, None when nobody waits on one (any more)."""

    descriptor: int | None = None
    in_background: bool = False

    @classmethod
    def inherited(cls, environ: MutableMapping[str, str]) -> Readiness:
        """Takes the descriptor out of the environment, so that no child of ours inherits the name."""
        text = environ.pop(READY_FD, "")
        if not text.isdigit():
            return cls()
        os.set_inheritable(int(text), False)
        return cls(int(text), in_background=True)

    def ready(self, status: str) -> None:
        """Raises VfsError when the command that waited for it has gone: nobody wants this mount any more."""
        sd_notify(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")
        try:
            self._tell({"ready": os.getpid()})
        except BrokenPipeError as error:
            raise VfsError("the command that started this mount has ended") from error

    def failed(self, reason: str) -> None:
        try:
            self._tell({"error": reason})
        except BrokenPipeError:
            return

    def stopping(self) -> None:
        sd_notify("STOPPING=1\nSTATUS=making everything durable")

    def _tell(self, message: dict[str, object]) -> None:
        if self.descriptor is None:
            return
        try:
            os.write(self.descriptor, json.dumps(message).encode() + b"\n")
        finally:
            os.close(self.descriptor)
            self.descriptor = None


def sd_notify(state: str) -> None:
    """Tells systemd, if it asked to be told. A manager that does not listen is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(address)
            sock.sendall(state.encode())
        except OSError:
            return
