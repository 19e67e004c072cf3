"""A TCP relay between a client and a server of the tests: it can be slow, and it can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

from tests.servers.server import free_port

END_SECONDS = 10.0


class Relay:
    """Listens on `port` of 127.0.0.1 while the block lasts. Each piece to the server is `delay` seconds late."""

    def __init__(self, upstream: int, delay: float = 0.0) -> None:
        self.port = free_port()
        self.delay = delay
        self._upstream = upstream
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Relay:
        self.mend()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()

    def mend(self) -> None:
        """Connections are taken again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._listener)

    def cut(self) -> None:
        """All connections end, and new ones are refused."""
        listener, self._listener = self._listener, None
        with self._lock:
            ends = [*self._sockets, *([listener] if listener else [])]
            self._sockets.clear()
            threads, self._threads = self._threads, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(END_SECONDS)
            assert not thread.is_alive()
        for end in ends:
            end.close()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream), 1.0)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._sockets |= {client, server}
            self._start(self._pump, client, server, True)
            self._start(self._pump, server, client, False)

    def _pump(self, source: socket.socket, target: socket.socket, late: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if late and self.delay:
                    time.sleep(self.delay)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
