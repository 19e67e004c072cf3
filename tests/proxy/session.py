"""Session: one client's connection, and what is done with each of its requests."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from tests.proxy.actions import Corrupt, Hang, LostReply, Reset, ResetBody, Status, Struck, Truncate
from tests.proxy.records import Book, Request, named
from tests.proxy.wire import Closed, Head, Piece, Wire, polled

CONNECT_SECONDS = 10.0
ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>{0}</Code><Message>{0}</Message><RequestId>0</RequestId></Error>"
)


class Owner(Protocol):
    """What a session needs of the proxy."""

    upstream: tuple[str, int]
    book: Book
    chance: random.Random

    def struck(self, request: Request) -> Struck: ...
    def forget(self, session: Session) -> None: ...


class Session(threading.Thread):
    """Serves requests until either side ends the connection."""

    def __init__(self, proxy: Owner, client: Wire) -> None:
        super().__init__(name="proxy session", daemon=True)
        self._proxy = proxy
        self._client = client
        self._server: Wire | None = None
        self._ending = threading.Event()

    def run(self) -> None:
        try:
            while not self._ending.is_set() and self._serve_next():
                pass
        except OSError:
            # Whoever lost the connection, the other side has to notice as it would without a proxy.
            self._client.reset()
        finally:
            self._client.close()
            if self._server is not None:
                self._server.close()
            self._proxy.forget(self)

    def end(self) -> None:
        """Ends the connections, whatever is under way; for other threads."""
        self._ending.set()
        self._client.shut()
        if (server := self._server) is not None:
            server.shut()

    def _serve_next(self) -> bool:
        """One request; whether the connection may serve another."""
        head = self._client.head()
        if head is None:
            return False
        request = named(head)
        struck = self._proxy.struck(request)
        exchange = Exchange(self._proxy.book, request, head, struck, self._ending)
        try:
            exchange.wait(struck.delay(self._proxy.chance))
            if struck.action(Reset):
                self._client.reset()
                return False
            if struck.action(Hang):
                self._client.drain()
                return False
            if status := struck.action(Status):
                return exchange.answer(self._client, status)
            self._connect()
            assert self._server is not None
            return exchange.pass_on(self._client, self._server)
        finally:
            exchange.end()

    def _connect(self) -> None:
        """A connection that the server has ended while it was idle is replaced, as a client would."""
        if self._server is not None and self._server.readable():
            self._server.close()
            self._server = None
        if self._server is None:
            sock = socket.create_connection(self._proxy.upstream, CONNECT_SECONDS)
            sock.settimeout(None)
            self._server = Wire(sock)
        if self._ending.is_set():
            raise Closed("the proxy was stopped")


class Exchange:
    """One request and its answer. Every number is in the book before the bytes it counts are sent on."""

    def __init__(
        self, book: Book, request: Request, head: Head, struck: Struck, ending: threading.Event
    ) -> None:
        self._book = book
        self._head = head
        self._struck = struck
        self._ending = ending
        self._number = book.open(replace(request, faults=struck.faults))
        self._early: Head | None = None
        self._whole = True

    def end(self) -> None:
        self._book.note(self._number, ended=True)

    def wait(self, seconds: float) -> None:
        if seconds > 0 and self._ending.wait(seconds):
            raise Closed("the proxy was stopped")

    def answer(self, client: Wire, status: Status) -> bool:
        """The proxy's own answer. Without the body of a client that waits to be told to send it."""
        keep = not (self._head.closing or self._head.expects_continue)
        if not self._head.expects_continue:
            for piece in client.request_body(self._head):
                self._book.note(self._number, sent=len(piece.raw) if piece.content else 0)
        body = b"" if self._head.method == "HEAD" else ERROR.format(status.code).encode()
        lines = [
            f"HTTP/1.1 {status.status} {status.code}",
            "Content-Type: application/xml",
            f"Content-Length: {len(body)}",
        ]
        if status.retry_after is not None:
            lines.append(f"Retry-After: {status.retry_after:g}")
        if not keep:
            lines.append("Connection: close")
        self._book.note(self._number, status=status.status, received=len(body))
        client.send("\r\n".join([*lines, "", ""]).encode() + body)
        return keep

    def pass_on(self, client: Wire, server: Wire) -> bool:
        """Whether both connections may serve another request."""
        server.send(self._head.raw)
        if self._continued(client, server) and not self._send_body(client, server):
            return False
        head = self._response(client, server)
        self._book.note(self._number, status=head.status)
        lost = self._struck.action(LostReply)
        if lost is None:
            return self._send_response(client, server, head) and self._whole
        for _ in server.response_body(head, self._head.method):
            pass
        if lost.hang:
            client.drain()
        else:
            client.reset()
        return False

    def _continued(self, client: Wire, server: Wire) -> bool:
        """Whether the client sends its body: not if it waits to be told to, and is refused (RFC 9110, 10.1.1)."""
        if not self._head.expects_continue or client.readable():
            return True
        if server not in polled(None, client, server):
            return True
        self._hear(server)
        return self._whole

    def _response(self, client: Wire, server: Wire) -> Head:
        head = self._early
        while head is None or head.status < 200:
            head = server.head()
            if head is None:
                raise Closed("the server ended the connection")
            if head.status < 200:
                client.send(head.raw)
        return head

    def _send_body(self, client: Wire, server: Wire) -> bool:
        """False if the connections were reset on the way. A server that answers early need not read it all."""
        if self._early is not None:
            client.send(self._early.raw)
        reset, corrupt = self._struck.action(ResetBody), self._struck.action(Corrupt)
        cut = reset is not None and reset.side == "request"
        pieces = client.request_body(self._head)
        if cut:
            pieces = _cut(pieces, _middle(self._head.length))
        elif corrupt is not None and corrupt.side == "request":
            pieces = _corrupted(pieces, _middle(self._head.length))
        for piece in pieces:
            if piece.content:
                self._book.note(self._number, sent=len(piece.raw))
                self.wait(self._struck.transmission(len(piece.raw)))
            if self._whole and server.readable():
                self._hear(server)
            if self._whole:
                try:
                    server.send(piece.raw)
                except ConnectionError:
                    self._whole = False
        if cut:
            server.reset()
            client.reset()
        return not cut

    def _hear(self, server: Wire) -> None:
        """What the server says before it has the whole body: to go on, or that it needs no more of it."""
        self._early = server.head()
        if self._early is None:
            raise Closed("the server ended the connection")
        self._whole = self._early.status < 200

    def _send_response(self, client: Wire, server: Wire, head: Head) -> bool:
        truncate, corrupt = self._struck.action(Truncate), self._struck.action(Corrupt)
        reset = self._struck.action(ResetBody)
        middle = _middle(head.length)
        pieces = server.response_body(head, self._head.method)
        raw = head.raw
        cut = truncate is not None or (reset is not None and reset.side == "response")
        if cut:
            pieces = _cut(pieces, middle)
        elif corrupt is not None and corrupt.side == "response":
            pieces = _corrupted(pieces, middle)
        if truncate is not None and truncate.hidden:
            raw = head.with_length(middle)
        client.send(raw)
        for piece in pieces:
            if piece.content:
                self._book.note(self._number, received=len(piece.raw))
                self.wait(self._struck.transmission(len(piece.raw)))
            client.send(piece.raw)
        if truncate is None and cut:
            client.reset()
        return not (cut or head.closing or self._head.closing or head.endless(self._head.method))


def _middle(length: int | None) -> int:
    """Where a body is cut or spoilt; its first byte where nobody knows how long it is."""
    return 0 if length is None else length // 2


def _cut(pieces: Iterator[Piece], at: int) -> Iterator[Piece]:
    for piece in pieces:
        if not piece.content:
            yield piece
            continue
        if at > 0:
            yield Piece(piece.raw[:at])
        at -= len(piece.raw)
        if at <= 0:
            return


def _corrupted(pieces: Iterator[Piece], at: int) -> Iterator[Piece]:
    for piece in pieces:
        if piece.content and 0 <= at < len(piece.raw):
            wrong = bytes([piece.raw[at] ^ 0xFF])
            yield Piece(piece.raw[:at] + wrong + piece.raw[at + 1 :])
        else:
            yield piece
        at -= len(piece.raw) if piece.content else 0
