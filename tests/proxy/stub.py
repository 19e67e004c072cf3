"""A small HTTP/1.1 server behind the proxy: what is put at a path can be got from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stub(ThreadingHTTPServer):
    """Knows what it stored, and every request that arrived whole: method, path, Host field."""

    daemon_threads = False
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stored: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, str]] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """`/refused` is refused before its body is read, `/chunked` answers in chunks, `/endless` until the end."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Stub

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def handle_expect_100(self) -> bool:
        if self.path == "/refused":
            self._answer(403, b"")
            self.close_connection = True
            return False
        return super().handle_expect_100()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            wanted = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(wanted)
            if len(body) < wanted:
                raise ConnectionResetError("short")
            return body
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self) -> None:
        try:
            body = self._body()
        except ConnectionError:
            self.close_connection = True
            return
        self.server.seen.append((self.command, self.path, self.headers["Host"]))
        if self.command in ("PUT", "POST"):
            self.server.stored[self.path] = body
            self._answer(200, b"")
        elif self.command == "DELETE":
            self.server.stored.pop(self.path, None)
            self._answer(204, b"")
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n")
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"until the end")
            self.close_connection = True
        else:
            self._answer(
                200 if self.path in self.server.stored else 404, self.server.stored.get(self.path, b"")
            )

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle


@contextmanager
def running() -> Iterator[Stub]:
    stub = Stub()
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        thread.join()
        stub.server_close()
