"""The fault proxy in front of a small server: it passes everything on unchanged, until it is told otherwise."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.proxy import (
    Bandwidth,
    Corrupt,
    Hang,
    Latency,
    LostReply,
    Proxy,
    Reset,
    ResetBody,
    Status,
    Truncate,
)
from tests.proxy.stub import Stub, running

pytestmark = pytest.mark.timeout(60)

BODY = bytes(range(256)) * 4096


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running() as stub:
        yield stub


@pytest.fixture
def proxy(stub: Stub) -> Iterator[Proxy]:
    with Proxy(stub.url) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[http.client.HTTPConnection]:
    with closing(connect(proxy)) as client:
        yield client


def connect(proxy: Proxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)


def ask(
    client: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **fields: str
) -> tuple[int, bytes]:
    """Status and body. Raises ConnectionError where there was a reset."""
    client.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
    with client.getresponse() as response:
        return response.status, response.read()


def test_passes_everything_on(stub: Stub, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    assert ask(client, "PUT", "/b/k", BODY) == (200, b"")
    assert ask(client, "GET", "/b/k") == (200, BODY)
    assert ask(client, "HEAD", "/b/k") == (200, b"")
    assert ask(client, "DELETE", "/b/k") == (204, b"")
    assert ask(client, "GET", "/b/k") == (404, b"")
    assert ask(client, "GET", "/chunked") == (200, b"hello world")
    client.request("PUT", "/b/chunks", iter([b"one", b"two"]), encode_chunked=True)
    assert client.getresponse().read() == b""
    assert stub.stored["/b/chunks"] == b"onetwo"
    assert {host for _, _, host in stub.seen} == {f"127.0.0.1:{proxy.port}"}
    assert stub.connections == 1, "kept alive on both sides"
    assert ask(client, "GET", "/endless") == (200, b"until the end")
    assert [(one.sent, one.received, one.status) for one in proxy.requests()] == [
        (len(BODY), 0, 200),
        (0, len(BODY), 200),
        (0, 0, 200),
        (0, 0, 204),
        (0, 0, 404),
        (0, 11, 200),
        (6, 0, 200),
        (0, 13, 200),
    ]


def test_several_requests_in_one_go(proxy: Proxy) -> None:
    """Pipelined, and a head that comes byte by byte."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        one = b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        raw.sendall(one + b"GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n")
        for byte in b"GET /b/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n":
            raw.sendall(bytes([byte]))
        with raw.makefile("rb") as answers:
            assert answers.read().count(b"\r\n\r\nabc") == 2


@pytest.mark.parametrize(
    ("method", "path", "fields", "kind", "bucket", "key"),
    [
        ("PUT", "/b/k", {}, "PutObject", "b", "k"),
        ("PUT", "/b/d/a%20%2Bb", {}, "PutObject", "b", "d/a +b"),
        ("PUT", "/b/d/", {}, "PutObject", "b", "d/"),
        ("PUT", "/b/k", {"x_amz_copy_source": "b/s"}, "CopyObject", "b", "k"),
        ("PUT", "/b/k?partNumber=2&uploadId=u", {}, "UploadPart", "b", "k"),
        ("PUT", "/b/k?partNumber=2&uploadId=u", {"x_amz_copy_source": "b/s"}, "UploadPartCopy", "b", "k"),
        ("POST", "/b/k?uploads", {}, "CreateMultipartUpload", "b", "k"),
        ("POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload", "b", "k"),
        ("POST", "/b?delete", {}, "DeleteObjects", "b", ""),
        ("POST", "/b/?delete=", {}, "DeleteObjects", "b", ""),
        ("DELETE", "/b/k?uploadId=u", {}, "AbortMultipartUpload", "b", "k"),
        ("DELETE", "/b/k", {}, "DeleteObject", "b", "k"),
        ("GET", "/b/k", {}, "GetObject", "b", "k"),
        ("GET", "/b/k?uploadId=u", {}, "ListParts", "b", "k"),
        ("GET", "/b?list-type=2&prefix=x%2F", {}, "ListObjectsV2", "b", ""),
        ("GET", "/b?prefix=x", {}, "ListObjects", "b", ""),
        ("GET", "/b?uploads", {}, "ListMultipartUploads", "b", ""),
        ("GET", "/", {}, "ListBuckets", "", ""),
        ("HEAD", "/b/k", {}, "HeadObject", "b", "k"),
        ("HEAD", "/b", {}, "HeadBucket", "b", ""),
        ("PUT", "/b", {}, "CreateBucket", "b", ""),
    ],
)
def test_names_requests_as_s3_does(
    method: str, path: str, fields: dict[str, str], kind: str, bucket: str, key: str, proxy: Proxy
) -> None:
    with closing(connect(proxy)) as client:
        ask(client, method, path, None, **fields)
    (request,) = proxy.requests()
    assert (request.kind, request.bucket, request.key) == (kind, bucket, key)


def test_counts_exactly(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    ask(client, "PUT", "/b/before", b"x")
    with proxy.counting() as counts:
        assert counts.kinds == {}
        ask(client, "PUT", "/b/k", b"four")
        assert counts.kinds == {"PutObject": 1}
        ask(client, "PUT", "/b/k?partNumber=1&uploadId=u", b"12345")
        ask(client, "GET", "/b/k")
    ask(client, "PUT", "/b/after", b"x")
    assert counts.kinds == {"PutObject": 1, "UploadPart": 1, "GetObject": 1}
    assert (counts.sent, counts.received) == (9, 4)
    assert [one.key for one in counts.of("PutObject")] == ["k"]


def test_many_clients_at_once(stub: Stub, proxy: Proxy) -> None:
    def work(number: int) -> None:
        with closing(connect(proxy)) as client:
            for serial in range(20):
                ask(client, "PUT", f"/b/{number}.{serial}", b"%d" % serial * 1000)

    with proxy.counting() as counts:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    proxy.wait_idle()
    assert counts.kinds == {"PutObject": 160}
    assert len(stub.stored) == 160
    assert counts.sent == sum(map(len, stub.stored.values()))
    assert all(one.ended and one.status == 200 for one in counts.requests)


def test_status(stub: Stub, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    rule = proxy.add(Status(503, retry_after=2), r"^PUT /b/", count=2)
    for _ in range(2):
        client.request("PUT", "/b/k", b"body")
        with client.getresponse() as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "2")
            assert b"<Code>SlowDown</Code>" in response.read()
    assert ask(client, "PUT", "/b/k", b"body") == (200, b"")
    assert len(stub.seen) == 1
    assert rule.hits == 2
    assert [(one.status, one.sent, one.faults) for one in proxy.requests()] == [
        (503, 4, ("Status",)),
        (503, 4, ("Status",)),
        (200, 4, ()),
    ]
    proxy.add(Status(500, "InternalError"), "HeadObject$")
    assert ask(client, "HEAD", "/b/k") == (500, b"")


def test_reset_before(stub: Stub, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    proxy.add(Reset(), count=1)
    with pytest.raises(ConnectionError):
        ask(client, "PUT", "/b/k", b"body")
    assert not stub.seen
    client.close()
    assert ask(client, "PUT", "/b/k", b"body") == (200, b"")
    assert [one.status for one in proxy.requests()] == [None, 200]


def test_lost_reply(stub: Stub, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    proxy.add(LostReply(), "PutObject$", count=1)
    with pytest.raises(ConnectionError):
        ask(client, "PUT", "/b/k", b"body")
    assert stub.stored == {"/b/k": b"body"}
    assert proxy.requests()[0].status == 200
    client.close()
    proxy.add(LostReply(hang=True), "DeleteObject$")
    hasty = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.3)
    with closing(hasty), pytest.raises(TimeoutError):
        ask(hasty, "DELETE", "/b/k")
    assert stub.stored == {}


def test_reset_in_mid_body(stub: Stub, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    proxy.add(ResetBody("request"), "PutObject$", count=1)
    with pytest.raises(ConnectionError):
        ask(client, "PUT", "/b/k", BODY)
    proxy.wait_idle()
    assert not stub.seen
    assert proxy.requests()[0].sent == len(BODY) // 2
    client.close()
    ask(client, "PUT", "/b/k", BODY)
    proxy.add(ResetBody(), "GetObject$", count=1)
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        ask(client, "GET", "/b/k")
    assert proxy.requests()[-1].received == len(BODY) // 2
    client.close()
    assert ask(client, "GET", "/b/k") == (200, BODY)


def test_truncated_body(stub: Stub, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    ask(client, "PUT", "/b/k", BODY)
    proxy.add(Truncate(), "GetObject$", count=1)
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(client, "GET", "/b/k")
    assert caught.value.partial == BODY[: len(BODY) // 2]
    client.close()
    proxy.add(Truncate(hidden=True), "GetObject$", count=1)
    assert ask(client, "GET", "/b/k") == (200, BODY[: len(BODY) // 2])
    client.close()
    assert ask(client, "GET", "/b/k") == (200, BODY)


def test_corrupted_body(stub: Stub, proxy: Proxy, client: http.client.HTTPConnection) -> None:
    def wrong(data: bytes) -> list[int]:
        assert len(data) == len(BODY)
        return [at for at in range(len(BODY)) if data[at] != BODY[at]]

    proxy.add(Corrupt("request"), "PutObject$", count=1)
    ask(client, "PUT", "/b/k", BODY)
    assert wrong(stub.stored["/b/k"]) == [len(BODY) // 2]
    ask(client, "PUT", "/b/k", BODY)
    proxy.add(Corrupt(), "GetObject$", count=1)
    assert wrong(ask(client, "GET", "/b/k")[1]) == [len(BODY) // 2]
    assert ask(client, "GET", "/b/k") == (200, BODY)


def test_latency_and_bandwidth(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    begun = time.monotonic()
    ask(client, "PUT", "/b/k", BODY)
    assert time.monotonic() - begun < 0.25
    for action in (Latency(0.3, jitter=0.05), Bandwidth(len(BODY) * 4)):
        rule = proxy.add(action)
        begun = time.monotonic()
        ask(client, "PUT", "/b/k", BODY)
        assert time.monotonic() - begun >= 0.25
        proxy.remove(rule)
    ask(client, "GET", "/b/k")


def test_hang(stub: Stub, proxy: Proxy) -> None:
    proxy.add(Hang(), "PutObject$")
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.3)) as client:
        with pytest.raises(TimeoutError):
            ask(client, "PUT", "/b/k", BODY)
        assert not proxy.requests()[0].ended
    proxy.wait_idle()
    assert not stub.seen


def test_count_skip_and_probability(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    proxy.add(Status(), "PutObject$", skip=1, count=1)
    assert [ask(client, "PUT", "/b/k", b"")[0] for _ in range(4)] == [200, 503, 200, 200]
    rule = proxy.add(Status(), "PutObject$", probability=0.5)
    answers = [ask(client, "PUT", "/b/k", b"")[0] for _ in range(60)]
    assert 15 < answers.count(503) == rule.hits < 45
    proxy.clear()
    assert ask(client, "PUT", "/b/k", b"")[0] == 200


def test_stopped_and_resumed(proxy: Proxy, client: http.client.HTTPConnection) -> None:
    ask(client, "PUT", "/b/k", b"body")
    proxy.add(Hang(), "DeleteObject$")
    failed: list[BaseException] = []

    def hang() -> None:
        with closing(connect(proxy)) as other:
            try:
                ask(other, "DELETE", "/b/k")
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                failed.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    while len(proxy.requests()) < 2:
        time.sleep(0.01)
    proxy.stop()
    thread.join()
    assert failed
    with pytest.raises(ConnectionError):
        ask(client, "GET", "/b/k")
    client.close()
    with pytest.raises(ConnectionRefusedError):
        ask(client, "GET", "/b/k")
    client.close()
    port = proxy.port
    proxy.resume()
    assert proxy.port == port
    assert ask(client, "GET", "/b/k") == (200, b"body")


def test_a_server_that_is_away_resets(stub: Stub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with Proxy(url) as proxy, closing(connect(proxy)) as client:
        with pytest.raises(ConnectionError):
            ask(client, "GET", "/b/k")
        proxy.wait_idle()
        assert proxy.requests()[0].status is None


@pytest.mark.parametrize("path", ["/b/k", "/refused"])
def test_expect_100_continue(path: str, stub: Stub, proxy: Proxy) -> None:
    """The body comes when the server asks for it; refused, it never does."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw, raw.makefile("rb") as answers:
        head = f"PUT {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        raw.sendall(head.encode())
        if path == "/refused":
            assert answers.readline().startswith(b"HTTP/1.1 403")
            assert not stub.seen
            return
        assert answers.readline().startswith(b"HTTP/1.1 100")
        raw.sendall(b"body")
        answers.readline()
        assert answers.readline().startswith(b"HTTP/1.1 200")
    assert stub.stored == {"/b/k": b"body"}


def test_a_body_that_does_not_wait_for_100_continue(stub: Stub, proxy: Proxy) -> None:
    """As s3fs sends it after a while: the server's word comes in the middle of it."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw, raw.makefile("rb") as answers:
        raw.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\nbody")
        time.sleep(0.3)
        raw.sendall(b"body")
        lines = [answers.readline() for _ in range(3)]
        assert any(line.startswith(b"HTTP/1.1 200") for line in lines), lines
    assert stub.stored == {"/b/k": b"bodybody"}
