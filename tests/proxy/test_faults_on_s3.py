"""The S3 store with its layers behind the proxy: real connections that break, in real time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import trio

from tests.proxy import Corrupt, Hang, LostReply, Proxy, Reset, ResetBody, Status, Truncate
from tests.servers.server import Server
from vfs.errors import PreconditionFailed, StoreUnavailable
from vfs.store.base import ObjectMeta
from vfs.store.breaker import Breaker
from vfs.store.layers import Deadline, Limit
from vfs.store.retry import Retry
from vfs.store.s3 import Location, S3Store
from vfs.store.s3.download import Checked
from vfs.types import Key

pytestmark = pytest.mark.timeout(120)

SECONDS = 20.0
ATTEMPT = 1.0
META = ObjectMeta({"mode": "33188", "mtime": "1700000000.123456789"}, "text/plain")
OTHER = ObjectMeta({"mode": "33188", "mtime": "1700000000.987654321"}, "text/plain")
PART = bytes(range(256)) * 20480
SMALL = PART[: 1 << 20]
KEY = Key("k")


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    with Proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def store(s3: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Retry]:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    url = s3.through(proxy.url).store_url(f"faults/{uuid4()}")
    limit = Limit(Deadline(S3Store(Location.parse(url)), ATTEMPT), 16)
    store = Retry(Breaker(limit, SECONDS), SECONDS)
    yield store
    await store.aclose()


async def test_lost_replies(proxy: Proxy, store: Retry) -> None:
    for kind in ("PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy"):
        proxy.add(LostReply(), f"{kind}$", count=1)
    for kind in ("CompleteMultipartUpload", "AbortMultipartUpload", "DeleteObject", "DeleteObjects"):
        proxy.add(LostReply(), f"{kind}$", count=1)
    with proxy.counting() as counts:
        one = await store.put(KEY, [PART], META, if_absent=True)
        changed = await store.copy(KEY, KEY, OTHER, if_match=one.etag)
        upload = await store.create_upload(Key("big"), META)
        parts = [
            await store.upload_part(upload, 1, [PART]),
            await store.copy_part(upload, 2, KEY, 0, len(PART), if_match=changed.etag),
        ]
        whole = await store.complete_upload(upload, parts)
    once_more = ("PutObject", "CopyObject", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload")
    assert {kind: counts.kinds[kind] for kind in once_more} == dict.fromkeys(once_more, 2)
    # The put is settled; so is the complete, unless the server takes a second one as AWS does.
    assert counts.kinds["HeadObject"] == store.statistics().settled >= 1
    assert (changed.meta, whole.size, whole.meta) == (OTHER, 2 * len(PART), META)
    assert bytes((await store.get(Key("big"))).data) == PART * 2
    (leak,) = await store.list_uploads("")
    await store.abort_upload(leak)
    await store.delete(KEY)
    assert not await store.delete_many([Key("big")])
    assert not (await store.list("")).objects
    assert not await store.list_uploads("")


async def test_another_writer_is_not_taken_for_oneself(proxy: Proxy, store: Retry) -> None:
    one = await store.put(KEY, [b"one"], META)
    two = await store.put(KEY, [b"two"], META)
    proxy.add(Reset(), "PutObject$", count=1)
    with pytest.raises(PreconditionFailed):
        await store.put(KEY, [b"six"], META, if_match=one.etag)
    assert (await store.head(KEY)).etag == two.etag


@pytest.mark.parametrize(
    "action",
    [Status(503), Status(500, "InternalError"), Reset(), ResetBody("request"), Hang(), LostReply(hang=True)],
    ids=repr,
)
async def test_writes_through_faults(
    action: Status | Reset | ResetBody | Hang | LostReply, proxy: Proxy, store: Retry
) -> None:
    proxy.add(action, "PutObject$", count=1 if isinstance(action, Hang | LostReply) else 3)
    with trio.fail_after(SECONDS):
        await store.put(KEY, [SMALL, b"tail"], META)
    assert bytes((await store.get(KEY)).data) == SMALL + b"tail"


@pytest.mark.parametrize("action", [Truncate(), ResetBody(), Reset(), Status(503)], ids=repr)
async def test_reads_through_faults(
    action: Truncate | ResetBody | Reset | Status, proxy: Proxy, store: Retry
) -> None:
    await store.put(KEY, [SMALL], META)
    rule = proxy.add(action, "GetObject$", count=2)
    assert bytes((await store.get(KEY)).data) == SMALL
    assert rule.hits == 2


async def test_an_outage(proxy: Proxy, store: Retry) -> None:
    """Everything that was under way ends well; while the store is away it sees next to no connections."""
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(store.put, Key(f"k{number}"), [PART], META)
        await trio.sleep(0.05)
        await trio.to_thread.run_sync(proxy.stop)
        await trio.sleep(3)
        proxy.resume()
    for number in range(12):
        assert bytes((await store.get(Key(f"k{number}"))).data) == PART
    await trio.to_thread.run_sync(proxy.stop)
    with pytest.raises(StoreUnavailable, match="given up after"):
        await Retry(store.inner, 2.0).put(KEY, [b"x"], META)
    proxy.resume()
    await store.put(KEY, [b"x"], META)


@pytest.mark.parametrize("size", [1, 1000, len(SMALL)])
async def test_damaged_bytes_are_fetched_again(proxy: Proxy, store: Retry, size: int) -> None:
    """Of a small file that is read whole; the etag tells."""
    info = await store.put(KEY, [SMALL[:size]], META)
    for _ in range(3):
        proxy.add(Corrupt(), "GetObject$", count=1)
        assert (await store.get(KEY, 0, size, if_match=info.etag)).data == SMALL[:size]


async def test_an_etag_that_is_no_md5_makes_nothing_unreadable() -> None:
    checked = Checked()
    answer = {"ETag": '"0123456789abcdef0123456789abcdef"', "ContentLength": 4}
    with pytest.raises(StoreUnavailable):
        await checked.check(bytearray(b"data"), answer, "get")
    await checked.check(bytearray(b"data"), answer, "get")
    with pytest.raises(StoreUnavailable):
        await checked.check(bytearray(b"dama"), answer, "get")
