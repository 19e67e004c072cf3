"""What the proxy can do to a request, and the rules that say to which."""

from __future__ import annotations

import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Side = Literal["request", "response"]


@dataclass(frozen=True, slots=True)
class Latency:
    """The server gets the request so many seconds later, more or less `jitter`."""

    seconds: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bodies of all requests under this rule share a line of so many bytes per second."""

    rate: float


@dataclass(frozen=True, slots=True)
class Status:
    """The proxy answers itself, as an S3 server does; the server never sees the request."""

    status: int = 503
    code: str = "SlowDown"
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST) before the server sees the request."""


@dataclass(frozen=True, slots=True)
class ResetBody:
    """The connection is reset in the middle of a body; for a request's body, that to the server as well."""

    side: Side = "response"


@dataclass(frozen=True, slots=True)
class LostReply:
    """The server does it, and the client gets a reset instead of the answer; with `hang`, nothing at all."""

    hang: bool = False


@dataclass(frozen=True, slots=True)
class Truncate:
    """Half of the response's body, then an orderly end. `hidden`: with a Content-Length that agrees."""

    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Corrupt:
    """One byte in the middle of a body is wrong."""

    side: Side = "response"


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, until the client gives up. The server never sees the request."""


Action = Latency | Bandwidth | Status | Reset | ResetBody | LostReply | Truncate | Corrupt | Hang

A = TypeVar("A")


class Line:
    """A line of limited width: whoever reserves bytes is told how long to wait before they are through."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = 0.0

    def reserve(self, size: int, rate: float) -> float:
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + size / rate
            return self._free - now


@dataclass(slots=True)
class Rule:
    """`match` is searched in "METHOD /path?query Kind", e.g. `^PUT /bucket/a`, `UploadPart$`.

    The first `skip` matches are let pass; then `count` are struck (None: all), each with `probability`.
    """

    action: Action
    match: re.Pattern[str]
    count: int | None = None
    probability: float = 1.0
    skip: int = 0
    hits: int = 0
    line: Line = field(default_factory=Line)

    def strikes(self, request: str, chance: random.Random) -> bool:
        if (self.count is not None and self.hits >= self.count) or not self.match.search(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if chance.random() >= self.probability:
            return False
        self.hits += 1
        return True


class Struck:
    """The rules that strike one request: the first of each action."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(type(rule.action).__name__ for rule in self._rules)

    def action(self, kind: type[A]) -> A | None:
        return next((rule.action for rule in self._rules if isinstance(rule.action, kind)), None)

    def delay(self, chance: random.Random) -> float:
        latency = self.action(Latency)
        return 0.0 if latency is None else latency.seconds + chance.uniform(-1, 1) * latency.jitter

    def transmission(self, size: int) -> float:
        """Seconds until that many bytes are through the lines of limited width."""
        waits = [
            rule.line.reserve(size, rule.action.rate)
            for rule in self._rules
            if isinstance(rule.action, Bandwidth)
        ]
        return max(waits, default=0.0)
