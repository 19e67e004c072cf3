"""What aiobotocore's httpx session must be told so that bytes go over the wire as they are.

Three habits of aiobotocore 3.10 are undone here, and `tests/unit/test_s3_transport.py` looks at the bytes:

- It iterates over a `BytesIO` body, which yields *lines*: some 32,000 chunks for 8 MiB of binary. `WireBody` is a
  `BytesIO`, because it asks for that type, that yields the caller's buffers.
- It sends the request target in absolute form (`PUT http://host/bucket/key`), which is meant for proxies;
  stores behind Node's router and some load balancers answer 404 to that (RFC 9112, 3.2.1).
- botocore asks for `Expect: 100-continue` on every body, and httpx does not wait for the answer: header bytes
  for nothing, and one more answer to parse.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
from aiobotocore.httpxsession import HttpxSession
from botocore.handlers import add_expect_header

from vfs.store.base import Body
from vfs.types import Buffer

SLICE = 1 << 20
"""Largest piece given to the socket at once, bytes: TLS encrypts it on the event loop in under 1 ms."""

SMALL = 128 << 10
"""Buffers under this are joined up to it: copying 128 KiB takes 10 us, one more send through the stack 60."""


class WireBody(io.BytesIO):
    """A request body that is sent buffer by buffer, neither joined as a whole nor split into lines.

    `read`, `seek` and `tell` are for those who hash it first.
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self._buffers = [memoryview(buffer).cast("B") for buffer in body if len(buffer)]
        self._originals: list[Buffer] = [buffer for buffer in body if len(buffer)]
        self._length = sum(len(view) for view in self._buffers)
        self._at = 0

    def __len__(self) -> int:
        return self._length

    def __bool__(self) -> bool:
        return True

    def pieces(self) -> Iterator[Buffer]:
        """The content from the current position, in pieces of SMALL to SLICE bytes."""
        pending: list[Buffer] = []
        size = 0
        for buffer in self._rest():
            if size and size + len(buffer) > SMALL:
                yield pending[0] if len(pending) == 1 else b"".join(pending)
                pending, size = [], 0
            if len(buffer) <= SMALL:
                pending.append(buffer)
                size += len(buffer)
            elif len(buffer) <= SLICE:
                yield buffer
            else:
                view = memoryview(buffer)
                yield from (view[at : at + SLICE] for at in range(0, len(view), SLICE))
        if pending:
            yield pending[0] if len(pending) == 1 else b"".join(pending)

    def __iter__(self) -> Iterator[Buffer]:  # type: ignore[override]
        return self.pieces()

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return _Pieces(self.pieces())

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._length - self._at if size is None or size < 0 else size
        taken: list[Buffer] = []
        for buffer in self._rest():
            if wanted <= 0:
                break
            taken.append(memoryview(buffer)[:wanted])
            wanted -= len(taken[-1])
            self._at += len(taken[-1])
        return b"".join(taken)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, min(base + offset, self._length))
        return self._at

    def tell(self) -> int:
        return self._at

    def _rest(self) -> Iterator[Buffer]:
        skip = self._at
        for view, original in zip(self._buffers, self._originals, strict=True):
            if skip >= len(view):
                skip -= len(view)
                continue
            # bytes, not a view of them: h11 passes exactly those on without a copy
            yield view[skip:] if skip or not isinstance(original, bytes) else original
            skip = 0


class _Pieces:
    """Plain iteration. trio warns of an async generator that is left halfway, as by a connection that breaks."""

    def __init__(self, pieces: Iterator[Buffer]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return self

    async def __anext__(self) -> Buffer:
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None


class WireSession(HttpxSession):  # type: ignore[misc]
    """aiobotocore's session on httpx, sending the request target in origin form."""

    def _make_async_client(self) -> httpx2.AsyncClient:
        client: httpx2.AsyncClient = super()._make_async_client()
        client.event_hooks = {"request": [use_origin_form]}
        return client


async def use_origin_form(request: httpx2.Request) -> None:
    """`http://host/path?query` becomes `/path?query`; it stays as botocore quoted and signed it."""
    target = request.extensions.get("target", b"")
    if b"://" in target:
        path = target.split(b"/", 3)[3:]
        request.extensions = {**request.extensions, "target": b"/" + b"".join(path)}


def prepare_events(events: Any) -> None:
    """Changes what a client sends, by botocore's own hooks."""
    events.unregister("before-call.s3", add_expect_header)
    events.register_last("before-call.s3.DeleteObjects", _add_md5)


def _add_md5(params: Any, **_: Any) -> None:
    """DeleteObjects needs a checksum: botocore sends a CRC32, and many stores know only this older one."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
