"""Every way in which an S3 store says no, or says nothing: which error it becomes, and what that tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio

from tests.wire import Answer, Reply, Seen, error, store_on, wire
from vfs.errors import (
    AttributesTooBig,
    ConfigError,
    KeyRefused,
    ObjectNotFound,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreThrottled,
    StoreUnavailable,
    UploadNotFound,
    VfsError,
)
from vfs.store.base import ObjectMeta, Part, Upload, UploadId
from vfs.store.retry import Retry
from vfs.store.s3 import Location, S3Store
from vfs.types import ETag, Key

KEY = Key("k")
BARE = ObjectMeta()
UPLOAD = Upload(KEY, UploadId("u1"))
PART = Part(1, ETag("e"), 1)

pytestmark = pytest.mark.usefixtures("s3_credentials")

Call = Callable[[S3Store], Awaitable[object]]


def put(store: S3Store) -> Awaitable[object]:
    return store.put(KEY, [b"x"], BARE)


def head(store: S3Store) -> Awaitable[object]:
    return store.head(KEY)


def get(store: S3Store) -> Awaitable[object]:
    return store.get(KEY, 0, 10)


def copy(store: S3Store) -> Awaitable[object]:
    return store.copy(KEY, Key("other"))


def complete(store: S3Store) -> Awaitable[object]:
    return store.complete_upload(UPLOAD, [PART])


def copy_part(store: S3Store) -> Awaitable[object]:
    return store.copy_part(UPLOAD, 1, KEY, 0, 1)


async def failure(answer: Answer, call: Call = put, options: str = "") -> VfsError:
    """What the call raises; it is one line, and the store was asked once."""
    async with wire(answer) as served:
        store = S3Store(Location.parse(f"s3://bucket?endpoint={served.endpoint}&region=us-east-1{options}"))
        with pytest.raises(VfsError) as raised:
            await call(store)
        await store.aclose()
    assert "\n" not in str(raised.value)
    assert len(served.requests) == 1
    return raised.value


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, ObjectNotFound),
        ("NoSuchUpload", 404, UploadNotFound),
        ("PreconditionFailed", 412, PreconditionFailed),
        ("KeyTooLongError", 400, KeyRefused),
        ("MetadataTooLarge", 400, AttributesTooBig),
        ("QuotaExceeded", 403, StoreFull),
        ("AccessDenied", 403, StoreDenied),
        ("InternalError", 500, StoreUnavailable),
        ("ServiceUnavailable", 503, StoreUnavailable),
        ("SlowDown", 503, StoreThrottled),
        ("TooManyRequests", 429, StoreThrottled),
        ("RequestTimeout", 400, StoreUnavailable),
        ("BadDigest", 400, StoreUnavailable),
        ("ConditionalRequestConflict", 409, StoreUnavailable),
        ("NotImplemented", 501, StoreError),
        ("EntityTooSmall", 400, StoreError),
        ("SomethingNew", 400, StoreError),
        ("SomethingNew", 403, StoreDenied),
        ("SomethingNew", 502, StoreUnavailable),
    ],
)
async def test_codes(code: str, status: int, kind: type[VfsError]) -> None:
    raised = await failure(lambda seen: error(code, status, "Said the store."), copy)
    assert type(raised) is kind
    assert code in str(raised)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, StoreDenied),
        (404, ObjectNotFound),
        (412, PreconditionFailed),
        (429, StoreThrottled),
        (500, StoreUnavailable),
        (503, StoreUnavailable),
    ],
)
async def test_a_head_has_only_a_status(status: int, kind: type[VfsError]) -> None:
    assert type(await failure(lambda seen: Reply(status), head)) is kind


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"not even < that"])
async def test_answers_of_something_that_is_no_s3(body: bytes) -> None:
    assert type(await failure(lambda seen: Reply(502, body), get)) is StoreUnavailable
    assert isinstance(await failure(lambda seen: Reply(404, body), get), StoreError)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("ExpiredToken", "get new credentials"),
        ("RequestTimeTooSkewed", "clock is wrong: set it, e.g. with chrony (the store's is Sat, 01 Jan 2028"),
        ("AccessDenied", "give this user the right"),
    ],
)
async def test_refusals_say_what_to_do(code: str, hint: str) -> None:
    raised = await failure(lambda seen: error(code, 403, "secret detail"))
    assert isinstance(raised, StoreDenied)
    assert hint in str(raised)


async def test_no_such_bucket() -> None:
    raised = await failure(lambda seen: error("NoSuchBucket", 404))
    assert type(raised) is StoreError
    assert "create it, or correct the store's URL" in str(raised)


async def test_another_region() -> None:
    """botocore asks where the bucket is, and then there: here that is the same wrong place."""
    headers = {"x-amz-bucket-region": "eu-north-1"}
    async with wire(lambda seen: error("PermanentRedirect", 301, headers=headers)) as served:
        store = S3Store(Location.parse(f"s3://bucket?endpoint={served.endpoint}&region=us-east-1"))
        with pytest.raises(StoreError) as raised:
            await put(store)
        await store.aclose()
    assert "the bucket is in region eu-north-1: add region=eu-north-1" in str(raised.value)


@pytest.mark.parametrize("call", [copy, complete, copy_part])
async def test_a_success_with_an_error_in_it_is_an_error(call: Call) -> None:
    inside = b'<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>Again.</Message></Error>'
    assert type(await failure(lambda seen: Reply(200, inside), call)) is StoreUnavailable
    other = b"<Error><Code>NoSuchUpload</Code></Error>"
    assert type(await failure(lambda seen: Reply(200, other), call)) is UploadNotFound


@pytest.mark.parametrize("call", [copy, complete, copy_part])
@pytest.mark.parametrize("body", [b"", b"<CopyObjectResult>", b"<Other/>"])
async def test_a_success_that_says_nothing_is_no_success(call: Call, body: bytes) -> None:
    assert type(await failure(lambda seen: Reply(200, body), call)) is StoreUnavailable


async def test_a_put_needs_an_etag() -> None:
    assert type(await failure(lambda seen: Reply(200), put)) is StoreUnavailable


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Sat, 01 Jan 2028 00:00:30 GMT", 30.0),
        ("Fri, 31 Dec 2027 00:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
async def test_when_to_ask_again(text: str, seconds: float | None) -> None:
    raised = await failure(lambda seen: error("SlowDown", 503, headers={"retry-after": text}))
    assert isinstance(raised, StoreThrottled)
    assert raised.retry_after == seconds
    assert not raised.uncertain
    raised = await failure(lambda seen: error("ServiceUnavailable", 503, headers={"retry-after": text}))
    assert isinstance(raised, StoreUnavailable)
    assert raised.retry_after == seconds


def ranged(seen: Seen, cut: int | None = None) -> Reply:
    headers = {"content-range": "bytes 0-9/10", "etag": '"e"'}
    return Reply(206, b"0123456789", headers, cut)


@pytest.mark.parametrize("cut", [0, 5, 9])
async def test_a_body_that_ends_early_is_no_data(cut: int) -> None:
    raised = await failure(lambda seen: ranged(seen, cut), get)
    assert type(raised) is StoreUnavailable


class AtOnce(Random):
    """No pause between two tries."""

    def uniform(self, a: float, b: float) -> float:
        return a


async def test_an_answer_that_was_cut_and_says_so_is_asked_for_again() -> None:
    """A proxy that changes the length leaves the rest of the head as it was."""
    cuts = [3, 10]

    def answer(seen: Seen) -> Reply:
        body = b"0123456789"[: cuts.pop(0)]
        return Reply(206, body, {"content-range": "bytes 0-9/10", "etag": '"e"'})

    async with store_on(answer) as (store, served):
        got = await Retry(store, 60.0, AtOnce()).get(KEY, 0, 10)
    assert (bytes(got.data), got.info.size) == (b"0123456789", 10)
    assert len(served.requests) == 2


async def test_a_store_that_ignores_ranges() -> None:
    raised = await failure(lambda seen: Reply(200, b"0" * 100, {"etag": '"e"'}), get)
    assert "does not answer with the range" in str(raised)


async def test_a_connection_that_breaks() -> None:
    """The answer's head never comes: whether the call was applied is unknown."""
    raised = await failure(lambda seen: Reply(headers={"content-length": "not a number"}), put)
    assert type(raised) is StoreUnavailable
    assert raised.uncertain


async def failure_at(url: str) -> VfsError:
    store = S3Store(Location.parse(url))
    with pytest.raises(VfsError) as raised:
        await store.head(KEY)
    await store.aclose()
    assert "\n" not in str(raised.value)
    return raised.value


async def test_nobody_is_there() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    raised = await failure_at(f"s3://bucket?endpoint=http://127.0.0.1:{port}&region=x")
    assert isinstance(raised, StoreUnavailable)
    assert not raised.uncertain
    assert f"http://127.0.0.1:{port} cannot be reached" in str(raised)
    assert "refused" in str(raised)


async def test_an_unknown_host() -> None:
    raised = await failure_at("s3://bucket?endpoint=http://no-such-host.invalid&region=x&addressing=path")
    assert isinstance(raised, StoreUnavailable)
    assert "the host name of http://no-such-host.invalid is not known" in str(raised)


async def test_https_where_http_is_spoken() -> None:
    async with wire(lambda seen: Reply()) as served:
        raised = await failure_at(f"s3://bucket?endpoint={served.endpoint.replace('http', 'https')}&region=x")
    assert isinstance(raised, StoreUnavailable)
    assert "TLS failed" in str(raised)


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    raised = await failure_at("s3://bucket?endpoint=http://127.0.0.1:1&region=x")
    assert isinstance(raised, StoreDenied)
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, add profile=NAME" in str(raised)


async def test_half_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    raised = await failure_at("s3://bucket?endpoint=http://127.0.0.1:1&region=x")
    assert isinstance(raised, StoreDenied)
    assert "AWS_SECRET_ACCESS_KEY" in str(raised)


async def test_an_unknown_profile() -> None:
    raised = await failure_at("s3://bucket?endpoint=http://127.0.0.1:1&region=x&profile=nobody")
    assert isinstance(raised, ConfigError)
    assert "nobody" in str(raised)


async def test_metadata_that_goes_nowhere() -> None:
    store = S3Store(Location.parse("s3://bucket?endpoint=http://127.0.0.1:1"))
    for value in (" x", "x ", "é", "a\nb"):
        with pytest.raises(StoreError):
            await store.put(KEY, [], ObjectMeta({"n": value}))
    await store.aclose()
