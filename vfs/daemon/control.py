"""The daemon's control socket: one JSON object a line, each with the version of the protocol.

    -> {"v":1,"cmd":"drain","args":{"timeout":60}}
    <- {"v":1,"progress":{"files":12,"bytes":8388608}}        any number of these, the newest only
    <- {"v":1,"ok":true,"result":{}}                          or {"v":1,"ok":false,"error":"..."}

A connection may ask again after an answer. What a client can cost is bounded: bytes in a line, clients at once,
seconds for a line to arrive and for an answer to be taken. Progress is coalesced, so a slow reader holds nothing up.
A new command is one entry in the registry that `Control` is given.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
import trio

from vfs.daemon.runtime_dir import RuntimeDir
from vfs.errors import VfsError, leading

log = structlog.get_logger()

VERSION = 1
LINE_BYTES = 64 << 10
CLIENTS = 16
IDLE_SECONDS = 30.0
"""Longest that a client may take to send a line, or to take one."""

Progress = Callable[[Mapping[str, Any]], None]
Handler = Callable[[Mapping[str, Any], Progress], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Command:
    """A handler, and the seconds it may take."""

    run: Handler
    seconds: float = 10.0


class Control:
    """Answers clients with the commands it was given."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._clients = 0
        self._answering = 0
        self._settled = trio.Event()

    async def settle(self, seconds: float) -> None:
        """Waits, at most so long, until every request that came has its answer."""
        with trio.move_on_after(seconds):
            while self._answering:
                self._settled = trio.Event()
                await self._settled.wait()

    async def serve(self, where: RuntimeDir, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        """Listens until cancelled, then removes the socket. A socket left by a dead daemon is replaced."""
        listener = _listen(where, name)
        ours = where.inode(name)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    partial(trio.serve_listeners, self.client, [listener], handler_nursery=nursery)
                )
                task_status.started()
        finally:
            # After a lazy unmount a new daemon may have the name, while this one still stores what is left.
            if where.inode(name) == ours:
                where.remove(name)

    async def client(self, stream: trio.abc.Stream) -> None:
        """One connection, until it ends."""
        self._clients += 1
        try:
            async with aclosing(stream):
                if self._clients > CLIENTS:
                    await _send(stream, _failure("too many clients at once: try again"))
                    return
                await self._talk(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away; nobody is left to be told
        finally:
            self._clients -= 1

    async def _talk(self, stream: trio.abc.Stream) -> None:
        pending = bytearray()
        while True:
            line = await _line(stream, pending)
            if line is None:
                return
            self._answering += 1
            try:
                await _send(stream, await self._answer(stream, line))
            finally:
                self._answering -= 1
                self._settled.set()
            if len(line) > LINE_BYTES:
                return

    async def _answer(self, stream: trio.abc.Stream, line: bytes) -> Mapping[str, Any]:
        try:
            name, args = _request(line)
            command = self._commands.get(name)
            if command is None:
                raise VfsError(f"unknown command {name!r}: this daemon knows {', '.join(self._commands)}")
            return _success(await _run(stream, command, args))
        except VfsError as error:
            return _failure(str(error))
        except trio.TooSlowError:
            return _failure("the daemon did not finish in time")


async def _run(stream: trio.abc.Stream, command: Command, args: Mapping[str, Any]) -> Mapping[str, Any]:
    latest: Mapping[str, Any] | None = None
    news = trio.Event()

    def report(progress: Mapping[str, Any]) -> None:
        nonlocal latest
        latest = progress
        news.set()

    async def tell() -> None:
        nonlocal latest, news
        while True:
            await news.wait()
            progress, latest, news = latest, None, trio.Event()
            await _send(stream, {"v": VERSION, "progress": progress})

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            with trio.fail_after(command.seconds):
                result = await command.run(args, report)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise leading(group) from group
    return result


def _request(line: bytes) -> tuple[str, Mapping[str, Any]]:
    if len(line) > LINE_BYTES:
        raise VfsError(f"a request may have {LINE_BYTES} bytes")
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise VfsError("a request is one JSON object on one line") from error
    if not isinstance(request, dict) or request.get("v") != VERSION:
        raise VfsError(f"this daemon speaks version {VERSION} of the protocol")
    name, args = request.get("cmd"), request.get("args", {})
    if not isinstance(name, str) or not isinstance(args, dict):
        raise VfsError('a request has "cmd", a string, and "args", an object')
    return name, args


def _success(result: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"v": VERSION, "ok": True, "result": result}


def _failure(reason: str) -> Mapping[str, Any]:
    return {"v": VERSION, "ok": False, "error": reason}


async def _line(stream: trio.abc.Stream, pending: bytearray) -> bytes | None:
    """The next line without its end; None at the end of the stream, or when the client is too slow.

    A line that is too long comes back cut, and longer than LINE_BYTES.
    """
    with trio.move_on_after(IDLE_SECONDS):
        while (end := pending.find(b"\n")) < 0:
            if len(pending) > LINE_BYTES:
                return bytes(pending)
            data = await stream.receive_some(8192)
            if not data:
                return None
            pending += data
        line = bytes(pending[:end])
        del pending[: end + 1]
        return line
    return None


async def _send(stream: trio.abc.Stream, message: Mapping[str, Any]) -> None:
    data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    with trio.move_on_after(IDLE_SECONDS) as scope:
        await stream.send_all(data)
    if scope.cancelled_caught:
        raise trio.BrokenResourceError("the client does not read")


def _listen(where: RuntimeDir, name: str) -> trio.SocketListener:
    """Bound under another name and renamed, so that the name never leads to a socket nobody listens on."""
    unbound = f".{name}.{os.getpid()}"
    where.remove(unbound)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(where.address(unbound))
        os.chmod(where.address(unbound), 0o600)
        sock.listen(CLIENTS)
        os.rename(unbound, name, src_dir_fd=where.descriptor, dst_dir_fd=where.descriptor)
    except OSError:
        sock.close()
        where.remove(unbound)
        raise
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def bounded(value: object, default: float, most: float) -> float:
    """A number of seconds that a client asked for. Raises VfsError when it is none."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise VfsError("timeout: use a number of seconds")
    return min(float(value), most)
