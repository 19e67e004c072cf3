"""HTTP/1.1 on a socket, as bytes that are passed on unchanged: heads, and bodies piece by piece (RFC 9112)."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

PIECE = 1 << 18
"""Most bytes that are passed on at a time."""

MOST_HEAD = 1 << 17


class Closed(ConnectionError):
    """The peer ended the connection where more was to come."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's or a response's. Names of fields are in lower case; the last of a name counts."""

    raw: bytes
    first: str
    fields: Mapping[str, str]

    @classmethod
    def parsed(cls, raw: bytes) -> Head:
        first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(raw, first, {name.strip().lower(): value.strip() for name, _, value in pairs})

    @property
    def method(self) -> str:
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        return self.first.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def length(self) -> int | None:
        return int(self.fields["content-length"]) if "content-length" in self.fields else None

    @property
    def chunked(self) -> bool:
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def closing(self) -> bool:
        old = "HTTP/1.0" in self.first and self.fields.get("connection", "").lower() != "keep-alive"
        return old or self.fields.get("connection", "").lower() == "close"

    @property
    def expects_continue(self) -> bool:
        return self.fields.get("expect", "").lower() == "100-continue"

    def bodiless(self, method: str) -> bool:
        """Of a response: whatever its fields say, no body follows (RFC 9112, 6.3)."""
        return method == "HEAD" or self.status in (204, 304)

    def endless(self, method: str) -> bool:
        """Of a response: its body ends with the connection."""
        return not (self.bodiless(method) or self.chunked or self.length is not None)

    def with_length(self, length: int) -> bytes:
        """The head with another Content-Length."""
        lines = self.raw.split(b"\r\n")
        changed = (b"Content-Length: %d" % length if _is_length(line) else line for line in lines)
        return b"\r\n".join(changed)


def _is_length(line: bytes) -> bool:
    return line.lower().startswith(b"content-length:")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a body as they are on the wire: content, or the framing of chunks."""

    raw: bytes
    content: bool = True


class Wire:
    """One connection. Any thread may `shut` it; all else is for the thread that serves it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._buffer = bytearray()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def head(self) -> Head | None:
        """The next head; None where the connection ended before it began."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MOST_HEAD:
                raise Closed("a head without an end")
            if not self._more():
                if self._buffer:
                    raise Closed("in the middle of a head")
                return None
        return Head.parsed(self._take(end + 4))

    def request_body(self, head: Head) -> Iterator[Piece]:
        if head.chunked:
            return self._chunks()
        return self._exactly(head.length or 0)

    def response_body(self, head: Head, method: str) -> Iterator[Piece]:
        if head.bodiless(method):
            return iter(())
        if head.endless(method):
            return self._rest()
        return self.request_body(head)

    def readable(self) -> bool:
        """Something came, or the peer ended the connection."""
        return bool(self._buffer) or bool(polled(0, self))

    def drain(self) -> None:
        """Reads until the peer ends the connection."""
        while self._more():
            self._buffer.clear()

    def reset(self) -> None:
        """Ends the connection with RST."""
        if self.fileno() < 0:
            return
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def shut(self) -> None:
        """Wakes whoever waits for this connection; it is still to be closed."""
        with suppress(OSError):  # it may have ended already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()

    def _more(self) -> bool:
        data = self._sock.recv(PIECE)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def _exactly(self, size: int) -> Iterator[Piece]:
        while size > 0:
            if not self._buffer and not self._more():
                raise Closed(f"{size} bytes short")
            piece = self._take(min(size, PIECE))
            size -= len(piece)
            yield Piece(piece)

    def _rest(self) -> Iterator[Piece]:
        while self._buffer or self._more():
            yield Piece(self._take(PIECE))

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not self._more():
                raise Closed("in the middle of a chunk")
        return self._take(end + 2)

    def _chunks(self) -> Iterator[Piece]:
        while True:
            line = self._line()
            yield Piece(line, content=False)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            yield from self._exactly(size)
            yield Piece(self._line(), content=False)
        while line != b"\r\n":
            line = self._line()
            yield Piece(line, content=False)


def polled(seconds: float | None, *wires: Wire) -> list[Wire]:
    """Those on whose sockets something came or ended; waits for the first, as long as it takes with None."""
    poll = select.poll()
    for wire in wires:
        poll.register(wire.fileno(), select.POLLIN)
    ready = {fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)}
    return [wire for wire in wires if wire.fileno() in ready]
