"""What is found out about a store, and what is done where something is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.wire import Reply, Seen, error, store_on
from vfs.errors import ConfigError, PreconditionFailed, StoreDenied
from vfs.store.base import ObjectMeta, Upload, UploadId
from vfs.store.s3 import Location, S3Store
from vfs.store.s3.probe import Findings
from vfs.types import ETag, Key

pytestmark = pytest.mark.usefixtures("s3_credentials")

PLACE = "users/u1/.agentfs/"


@dataclass(slots=True)
class Bucket:
    """A small S3 whose preconditions are as good as said."""

    findings: Findings = field(default_factory=Findings)
    refuses: bool = False
    """Answers NotImplemented to a precondition that it does not have; else it ignores it."""
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: set[str] = field(default_factory=set)

    def __call__(self, seen: Seen) -> Reply:
        key, _, query = seen.target.removeprefix("/bucket/").partition("?")
        if seen.method == "POST":
            return self._post(key, query, seen.headers)
        if seen.method == "DELETE":
            if query:
                self.uploads.discard(query)
            else:
                self.objects.pop(key, None)
            return Reply(204)
        if seen.method == "PUT":
            return self._put(key, query, seen)
        if key not in self.objects:
            return error("NoSuchKey", 404)
        return Reply(200, self.objects[key], {"etag": f'"{self._etag(key)}"'})

    def _etag(self, key: str) -> str:
        return hashlib.md5(self.objects[key]).hexdigest() if key in self.objects else ""

    def _post(self, key: str, query: str, headers: Mapping[str, str]) -> Reply:
        if query == "uploads":
            self.uploads.add("uploadId=7")
            return Reply(200, b"<R><UploadId>7</UploadId></R>")
        refusal = self._refusal(key, headers, match=self.findings.conditional_complete)
        self.objects[key] = b"completed"
        return refusal or Reply(200, b'<R><ETag>"x-1"</ETag></R>')

    def _put(self, key: str, query: str, seen: Seen) -> Reply:
        source = seen.headers.get("x-amz-copy-source", "").removeprefix("bucket/")
        if source and query:
            if not self.findings.copy_part:
                return error("NotImplemented", 501)
            return self._copied(seen, source, self.findings.conditional_copy_part)
        if source:
            return self._copied(seen, source, self.findings.conditional_copy)
        if query:
            return Reply(headers={"etag": '"part"'})
        refusal = self._refusal(key, seen.headers, match=self.findings.if_match, put=True)
        if refusal is None:
            self.objects[key] = seen.body
            return Reply(headers={"etag": f'"{self._etag(key)}"'})
        return refusal

    def _copied(self, seen: Seen, source: str, match: bool) -> Reply:
        wanted = seen.headers.get("x-amz-copy-source-if-match")
        if match and wanted is not None and wanted.strip('"') != self._etag(source):
            return error("PreconditionFailed", 412)
        return Reply(200, f'<R><ETag>"{self._etag(source)}"</ETag></R>'.encode())

    def _refusal(
        self, key: str, headers: Mapping[str, str], *, match: bool, put: bool = False
    ) -> Reply | None:
        if "if-none-match" in headers:
            if put and not self.findings.if_none_match:
                return error("NotImplemented", 501) if self.refuses else None
            return error("PreconditionFailed", 412) if key in self.objects else None
        wanted = headers.get("if-match")
        if wanted is None:
            return None
        if not match:
            return error("NotImplemented", 501) if self.refuses else None
        current = self._etag(key) if put and not self.findings.quoted else f'"{self._etag(key)}"'
        return None if wanted == current else error("PreconditionFailed", 412)


AWS = Findings()
CEPH = Findings(quoted=False, conditional_copy_part=False, conditional_complete=False)
SUPABASE = Findings(if_none_match=False, if_match=False, conditional_copy=False, conditional_copy_part=False)
SWIFT = Findings(if_match=False, conditional_complete=False)
NO_COPY_PART = Findings(copy_part=False, conditional_copy_part=False)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("real", [AWS, CEPH, SUPABASE, SWIFT, NO_COPY_PART])
async def test_what_is_there_is_found(real: Findings, refuses: bool) -> None:
    bucket = Bucket(real, refuses)
    async with store_on(bucket) as (store, served):
        await store.prepare(store, PLACE, write=True)
        assert store.findings == real
        assert store.capabilities.conditional_put == (real.if_match and real.if_none_match)
        assert store.capabilities.conditional_copy == real.conditional_copy
        assert store.capabilities.copy_part == real.copy_part
        assert not bucket.objects
        assert not bucket.uploads
        assert len(served.requests) <= 15


async def test_an_etag_goes_out_as_the_store_wants_it() -> None:
    async with store_on(Bucket(CEPH)) as (store, _served):
        await store.prepare(store, PLACE, write=True)
        first = await store.put(Key("k"), [b"1"], ObjectMeta())
        second = await store.put(Key("k"), [b"2"], ObjectMeta(), if_match=first.etag)
        with pytest.raises(PreconditionFailed):
            await store.put(Key("k"), [b"3"], ObjectMeta(), if_match=first.etag)
        assert (await store.head(Key("k"))).etag == second.etag


async def test_what_is_ignored_is_compared_beforehand() -> None:
    async with store_on(Bucket(CEPH)) as (store, _served):
        await store.prepare(store, PLACE, write=True)
        stored = await store.put(Key("k"), [b"1"], ObjectMeta())
        upload = Upload(Key("k"), UploadId("7"))
        part = await store.copy_part(upload, 1, Key("k"), 0, 1, if_match=stored.etag)
        for wrong in ({"if_match": ETag("no")}, {"if_absent": True}):
            with pytest.raises(PreconditionFailed):
                await store.complete_upload(upload, [part], **wrong)
        with pytest.raises(PreconditionFailed):
            await store.copy_part(upload, 1, Key("k"), 0, 1, if_match=ETag("no"))
        with pytest.raises(PreconditionFailed):
            await store.complete_upload(Upload(Key("gone"), UploadId("7")), [part], if_match=stored.etag)
        await store.complete_upload(upload, [part], if_match=stored.etag)


async def test_aws_is_known() -> None:
    """No endpoint in the URL: nothing is put, only the record is looked for."""
    store = S3Store(Location.parse("s3://bucket?region=us-east-1"))
    assert store.findings == AWS
    await store.aclose()


async def test_who_may_only_read_writes_nothing() -> None:
    for options in ("", "&keys=restricted"):
        async with store_on(Bucket(), options) as (store, served):
            await store.prepare(store, PLACE, write=False)
        assert [request.method for request in served.requests] == ["GET"]


async def test_one_encoding_of_keys() -> None:
    bucket = Bucket()
    for _ in range(2):
        async with store_on(bucket, "&keys=restricted") as (store, _served):
            await store.prepare(store, PLACE, write=True)
    async with store_on(bucket) as (store, _served):
        with pytest.raises(ConfigError, match="keys=restricted: mount with that"):
            await store.prepare(store, PLACE, write=True)
    assert list(bucket.objects) == [f"{PLACE}store.json"]


@pytest.mark.parametrize("record", [b"", b"not json", b"[]", b"{}", b"7"])
async def test_a_damaged_record_stops_the_mount(record: bytes) -> None:
    bucket = Bucket(objects={f"{PLACE}store.json": record})
    async with store_on(bucket) as (store, _served):
        with pytest.raises(ConfigError, match="damaged"):
            await store.prepare(store, PLACE, write=True)


async def test_what_is_denied_is_said() -> None:
    async with store_on(lambda seen: error("AccessDenied", 403)) as (store, served):
        with pytest.raises(StoreDenied, match="put_object"):
            await store.prepare(store, PLACE, write=True)
    assert len(served.requests) == 1
