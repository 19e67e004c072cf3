"""What an S3Store sends, byte by byte, and in how many steps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest
import trio

from tests.wire import Reply, Seen, store_on, wire
from vfs.store.base import ObjectMeta
from vfs.store.s3 import Location, S3Store
from vfs.store.s3.transport import SLICE, SMALL, WireBody
from vfs.types import Buffer, Key

MIB = 1 << 20
BARE = ObjectMeta()


pytestmark = pytest.mark.usefixtures("s3_credentials")


def stored(seen: Seen) -> Reply:
    return Reply(headers={"etag": f'"{hashlib.md5(seen.body).hexdigest()}"'})


def store_at(endpoint: str, options: str = "") -> S3Store:
    return S3Store(Location.parse(f"s3://bucket/pre?endpoint={endpoint}&region=us-east-1{options}"))


class Steps(trio.abc.Instrument):
    """Counts how often a task was run: once at least for each piece that goes out."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_a_part_goes_out_in_few_pieces() -> None:
    """By the line, as aiobotocore sends a plain BytesIO, random bytes would go out in 32,000."""
    data = os.urandom(8 * MIB)
    steps = Steps()
    async with wire(stored) as served:
        store = store_at(served.endpoint)
        await store.put(Key("warm"), [b"up"], BARE)
        trio.lowlevel.add_instrument(steps)
        await store.put(
            Key("k"), [data[at : at + 128 * 1024] for at in range(0, len(data), 128 * 1024)], BARE
        )
        trio.lowlevel.remove_instrument(steps)
        await store.aclose()
    assert served.requests[1].body == data
    assert steps.count < 1500, "the sender's and the receiver's steps together"


async def test_small_objects_need_few_steps() -> None:
    steps = Steps()
    async with wire(stored) as served:
        store = store_at(served.endpoint)
        await store.put(Key("warm"), [b"up"], BARE)
        trio.lowlevel.add_instrument(steps)
        await store.put(Key("k"), [b"\n" * 4096], BARE)
        trio.lowlevel.remove_instrument(steps)
        await store.aclose()
    assert steps.count < 40


async def test_the_target_is_in_origin_form() -> None:
    async with wire(stored) as served:
        store = store_at(served.endpoint)
        await store.put(Key("a b/../ü//+%41"), [b"x"], BARE)
        await store.aclose()
    (request,) = served.requests
    assert request.target == "/bucket/pre/a%20b/../%C3%BC//%2B%2541"
    assert f"http://{request.headers['host']}" == served.endpoint


async def test_what_is_not_sent() -> None:
    """No 100-continue, nothing chunked, no trailers, no hash of the body."""
    async with wire(stored) as served:
        store = store_at(served.endpoint)
        await store.put(
            Key("k"), [b"x" * 5000, bytearray(b"y" * 5)], ObjectMeta({"mode": "33188"}, "text/plain")
        )
        await store.aclose()
    headers = served.requests[0].headers
    assert headers["content-length"] == "5005"
    assert headers["content-type"] == "text/plain"
    assert headers["x-amz-meta-mode"] == "33188"
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert not {"expect", "transfer-encoding", "content-encoding", "x-amz-trailer"} & set(headers)
    assert not [name for name in headers if name.startswith("x-amz-checksum")]


async def test_calls_share_connections() -> None:
    async with wire(stored) as served:
        store = store_at(served.endpoint)
        for number in range(10):
            await store.put(Key(f"k{number}"), [b"x"], BARE)
        await store.aclose()
    assert served.connections == 1


async def test_delete_many_carries_an_md5() -> None:
    async with wire(lambda seen: Reply(body=b"<DeleteResult/>")) as served:
        store = store_at(served.endpoint)
        assert await store.delete_many([Key("a&b"), Key("c\rd")]) == {}
        await store.aclose()
    (request,) = served.requests
    assert "content-md5" in request.headers
    assert "content-md5" in request.headers["authorization"], "signed, so set before that"
    assert b"pre/a&amp;b" in request.body


def buffers() -> Iterator[tuple[list[Buffer], list[int]]]:
    yield [], []
    yield [b""], []
    yield [b"x" * 10, b"", b"y" * 20], [30]
    yield [b"x" * (SMALL + 1), b"y", b"z"], [SMALL + 1, 2]
    yield [b"a", b"x" * SMALL], [1, SMALL]
    yield [b"x" * 1000] * 300, [131000, 131000, 38000]
    yield [b"x" * (2 * SLICE + 5), b"y"], [SLICE, SLICE, 5, 1]


@pytest.mark.parametrize(("content", "pieces"), list(buffers()))
def test_pieces(content: list[Buffer], pieces: list[int]) -> None:
    body = WireBody(content)
    assert [len(piece) for piece in body] == pieces
    assert b"".join(body) == b"".join(content)
    assert len(body) == sum(pieces)


def test_large_bytes_are_handed_on_as_they_are() -> None:
    data = b"x" * SLICE
    (piece,) = WireBody([data])
    assert piece is data


def test_a_body_can_be_read_and_rewound() -> None:
    body = WireBody([b"abc", memoryview(b"defg"), bytearray(b"hi")])
    assert body.read(4) == b"abcd"
    assert b"".join(body) == b"efghi"
    assert body.tell() == 4
    assert body.read() == b"efghi"
    assert body.read(1) == b""
    assert body.seek(0) == 0
    assert body.read() == b"abcdefghi"
    assert body.seek(-2, 2) == 7
    assert body.read(100) == b"hi"


async def test_calls_can_be_cancelled() -> None:
    """Halfway through an answer, and many at once: their connections are closed, and the next calls find others."""
    data = b"x" * (4 * MIB)
    scope = trio.CancelScope()
    rounds = 0

    def answer(seen: Seen) -> Reply:
        nonlocal rounds
        rounds += 1
        if rounds == 5:
            scope.cancel()
        return Reply(body=data, headers={"etag": '"e"'}) if seen.method == "GET" else stored(seen)

    async with store_on(answer) as (store, served):
        with scope:
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    call = store.get if number % 2 else lambda key: store.put(key, [data], BARE)
                    nursery.start_soon(call, Key("k"))
        assert scope.cancelled_caught
        for _ in range(3):
            assert (await store.get(Key("k"))).data == data
        assert served.connections >= 2
