"""Proxy: a thread for each connection of a client, with a connection of its own to the server."""

from __future__ import annotations

import random
import re
import socket
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from urllib.parse import urlsplit

from tests.proxy.actions import Action, Rule, Struck
from tests.proxy.records import Book, Counting, Request
from tests.proxy.session import Session
from tests.proxy.wire import Wire

LONGEST_END = 10.0
"""Seconds in which every thread must have ended after its connections were."""


class Proxy:
    """Listens on a free port of 127.0.0.1 while the block lasts; `url` is what a client is given.

    `upstream` is "http://host:port". Rules may be added and removed at any time, by any thread.
    """

    def __init__(self, upstream: str, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        assert parts.scheme == "http", "the proxy reads what passes: no TLS"
        assert parts.hostname, f"{upstream!r} names no host"
        self.upstream = (parts.hostname, parts.port or 80)
        self.book = Book()
        self.chance = random.Random(seed)
        self.port = 0
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._sessions: set[Session] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Listening: not before the block, nor between `stop` and `resume`."""
        return self._listener is not None

    def __enter__(self) -> Proxy:
        self.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def add(
        self,
        action: Action,
        match: str = "",
        *,
        count: int | None = None,
        probability: float = 1.0,
        skip: int = 0,
    ) -> Rule:
        """From now on `action` strikes requests that match (see Rule), until it is removed."""
        rule = Rule(action, re.compile(match), count, probability, skip)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        with self._lock:
            self._rules.remove(rule)

    def clear(self) -> None:
        """No rules; the records stay."""
        with self._lock:
            self._rules.clear()

    def struck(self, request: Request) -> Struck:
        with self._lock:
            return Struck([rule for rule in self._rules if rule.strikes(str(request), self.chance)])

    def requests(self) -> tuple[Request, ...]:
        """All requests so far, in the order in which they came."""
        return self.book.read()

    def counting(self) -> AbstractContextManager[Counting]:
        """`with proxy.counting() as counts:` has the requests that came in the block."""
        return Counting(self.book).block()

    def wait_idle(self, seconds: float = 10.0) -> None:
        """Until no request is under way. Raises AssertionError after so many seconds."""
        assert self.book.wait_idle(seconds), [str(one) for one in self.requests() if not one.ended]

    def stop(self) -> None:
        """As a store that went down: connections end, new ones are refused. What was under way may have happened."""
        listener, acceptor = self._listener, self._acceptor
        if listener is None or acceptor is None:
            return
        self._listener = self._acceptor = None
        listener.shutdown(socket.SHUT_RDWR)  # close alone would not wake accept(2)
        acceptor.join(LONGEST_END)
        listener.close()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.end()
        for session in sessions:
            session.join(LONGEST_END)
            assert not session.is_alive(), f"a connection did not end: {session}"
        assert not acceptor.is_alive()

    def resume(self) -> None:
        """Listens again, on the same port as before."""
        assert self._listener is None, "it is listening"
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(512)
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), name="proxy", daemon=True)
        self._acceptor.start()

    def forget(self, session: Session) -> None:
        """Called by a session at its end."""
        with self._lock:
            self._sessions.discard(session)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            session = Session(self, Wire(sock))
            with self._lock:
                self._sessions.add(session)
            session.start()
