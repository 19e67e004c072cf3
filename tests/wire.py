"""A server that answers HTTP/1.1 requests as a test says and keeps them as they came over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import trio

from vfs.store.s3 import Location, S3Store


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. Names of headers are in lower case; `target` is as it was sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """`cut` sends only that many bytes of the body, and then closes."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None

    def head(self, method: str) -> bytes:
        fields = {"content-length": str(len(self.body)), "date": "Sat, 01 Jan 2028 00:00:00 GMT"} | dict(
            self.headers
        )
        lines = [f"HTTP/1.1 {self.status} Said", *(f"{name}: {text}" for name, text in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode()


TLS = b"\x16"
"""First byte of a TLS handshake, which this does not speak."""

Answer = Callable[[Seen], Reply]


@dataclass(slots=True)
class Wire:
    endpoint: str
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def wire(answer: Answer) -> AsyncIterator[Wire]:
    """Serves on a free port of 127.0.0.1 until left."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    served = Wire(f"http://127.0.0.1:{port}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, partial(_serve, served, answer), [listener]))
        try:
            yield served
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def store_on(answer: Answer, options: str = "") -> AsyncIterator[tuple[S3Store, Wire]]:
    """An S3 store on such a server; `options` are added to its URL, each with its `&`."""
    async with wire(answer) as served:
        url = f"s3://bucket?endpoint={served.endpoint}&region=us-east-1{options}"
        async with aclosing(S3Store(Location.parse(url))) as store:
            yield store, served


def error(code: str, status: int, message: str = "", *, headers: Mapping[str, str] | None = None) -> Reply:
    """As S3 answers when it refuses."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Reply(status, body, {"content-type": "application/xml", **(headers or {})})


async def _serve(served: Wire, answer: Answer, stream: trio.SocketStream) -> None:
    """One connection, until either side leaves."""
    served.connections += 1
    async with stream:
        with suppress(trio.BrokenResourceError):
            await _answers(served, answer, stream)


async def _answers(served: Wire, answer: Answer, stream: trio.SocketStream) -> None:
    buffered = b""
    while True:
        while b"\r\n\r\n" not in buffered:
            more = await stream.receive_some(1 << 20)
            if not more or more[:1] == TLS:
                return
            buffered += more
        head, _, buffered = buffered.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        pieces, size = [buffered], len(buffered)
        while size < int(headers.get("content-length", 0)):
            pieces.append(await stream.receive_some(1 << 20))
            if not pieces[-1]:
                return
            size += len(pieces[-1])
        body, buffered = b"".join(pieces), b""
        method, target, _ = first.split(" ")
        served.requests.append(Seen(method, target, headers, body))
        reply = answer(served.requests[-1])
        sent = b"" if method == "HEAD" else reply.body[: reply.cut]
        await stream.send_all(reply.head(method) + sent)
        if reply.cut is not None:
            return
