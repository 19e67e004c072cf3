"""What each option of the URL changes in the requests."""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from pathlib import Path

import pytest

from tests.wire import Reply, Seen, store_on
from vfs.store.base import ObjectMeta, Part
from vfs.store.s3 import Location, S3Store
from vfs.store.s3.client import Client
from vfs.store.s3.location import KNOWN
from vfs.types import ETag, Key

pytestmark = pytest.mark.usefixtures("s3_credentials")

README = Path(__file__).resolve().parents[2] / "README.md"
KEY = Key("k")
BARE = ObjectMeta()


def answer(seen: Seen) -> Reply:
    """Success, in the form of all the calls that are made here."""
    body = (
        b'<R><ETag>"e"</ETag><UploadId>7</UploadId></R>'
        if seen.method == "POST" or "copy" in seen.target
        else b""
    )
    told = {name: text for name, text in seen.headers.items() if name == "x-amz-checksum-crc32"}
    if "x-amz-copy-source" in seen.headers:
        body = b'<R><ETag>"e"</ETag></R>'
    return Reply(200, body, {"etag": '"e"', **told})


async def requests(options: str) -> dict[str, Seen]:
    """One of each call that the options may change, by a name for it."""
    async with store_on(answer, options) as (store, served):
        await store.put(KEY, [b"x" * 1000], BARE)
        await store.copy(KEY, Key("l"), BARE)
        upload = await store.create_upload(KEY, BARE)
        part = await store.upload_part(upload, 1, [b"y" * 1000])
        await store.complete_upload(upload, [part])
        await store.head(KEY)
        await store.delete(KEY)
        names = ("put", "copy", "create", "part", "complete", "head", "delete")
        return dict(zip(names, served.requests, strict=True))


def having(seen: dict[str, Seen], header: str, text: str) -> set[str]:
    return {name for name, request in seen.items() if request.headers.get(header) == text}


async def test_nothing_is_added_unasked() -> None:
    for request in (await requests("")).values():
        added = [name for name in request.headers if name.startswith("x-amz-")]
        assert set(added) <= {
            "x-amz-content-sha256",
            "x-amz-date",
            "x-amz-copy-source",
            "x-amz-metadata-directive",
        }


async def test_encryption_and_class_go_with_what_creates_objects() -> None:
    creating = {"put", "copy", "create"}
    seen = await requests("&sse=aws:kms&sse_key=key-1&storage_class=STANDARD_IA")
    assert having(seen, "x-amz-server-side-encryption", "aws:kms") == creating
    assert having(seen, "x-amz-server-side-encryption-aws-kms-key-id", "key-1") == creating
    assert having(seen, "x-amz-storage-class", "STANDARD_IA") == creating
    assert having(await requests("&sse=AES256"), "x-amz-server-side-encryption", "AES256") == creating


async def test_the_requester_pays_for_everything() -> None:
    seen = await requests("&request_payer=yes")
    assert having(seen, "x-amz-request-payer", "requester") == set(seen)


async def test_checksums() -> None:
    seen = await requests("&checksums=when_supported")

    def crc(data: bytes) -> str:
        return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()

    assert having(seen, "x-amz-checksum-crc32", crc(b"x" * 1000)) == {"put"}
    assert having(seen, "x-amz-checksum-crc32", crc(b"y" * 1000)) == {"part"}
    assert having(seen, "x-amz-checksum-algorithm", "CRC32") >= {"create"}
    assert crc(b"y" * 1000).encode() in seen["complete"].body


async def test_regions_sign() -> None:
    async with store_on(answer, "&addressing=path") as (store, served):
        await store.put(KEY, [], BARE)
    assert "/us-east-1/s3/aws4_request" in served.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("s3://bucket?region=eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com/k?"),
        ("s3://bucket?region=eu-west-1&addressing=path", "https://s3.eu-west-1.amazonaws.com/bucket/k?"),
        ("s3://with.dots?region=eu-west-1", "https://s3.eu-west-1.amazonaws.com/with.dots/k?"),
        ("s3://bucket?endpoint=http://minio:9000", "http://minio:9000/bucket/k?"),
        ("s3://bucket?endpoint=http://minio:9000&addressing=virtual", "http://bucket.minio:9000/k?"),
    ],
)
async def test_addressing(url: str, start: str) -> None:
    client = Client(Location.parse(url), 1)
    signed = await client.presigned("get_object", 60, Key="k")
    await client.aclose()
    assert signed.startswith(start)
    assert "X-Amz-Signature=" in signed, "the old kind of signature is refused by most stores"


async def test_equal_parts_is_handed_on() -> None:
    assert S3Store(Location.parse("s3://bucket?equal_parts=yes")).capabilities.equal_parts
    assert not S3Store(Location.parse("s3://bucket")).capabilities.equal_parts


async def test_an_etag_keeps_no_quotes() -> None:
    async with store_on(answer) as (store, _served):
        assert (await store.put(KEY, [], BARE)).etag == "e"
        upload = await store.create_upload(KEY, BARE)
        assert await store.upload_part(upload, 2, [b"x"]) == Part(2, ETag("e"), 1)


def test_the_readme_lists_every_option() -> None:
    rows = re.findall(r"^\| `([a-z_]+)=", README.read_text(), re.MULTILINE)
    assert rows == list(KNOWN)
