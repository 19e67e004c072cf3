"""S3Store: the ObjectStore protocol in S3's calls. One request per call, never repeated: that is Retry's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx2
import trio

from vfs.errors import (
    AttributesTooBig,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    UploadNotFound,
)
from vfs.store.base import (
    UNKNOWN_SIZE,
    Body,
    Capabilities,
    Fetched,
    ListPage,
    ObjectInfo,
    ObjectMeta,
    Part,
    StoreFailure,
    Upload,
    UploadId,
    Usage,
)
from vfs.store.s3.answers import described, etag, ns, quoted, stored_ns, whole_size
from vfs.store.s3.client import Client
from vfs.store.s3.faults import FOREIGN, RangeRefused, translated
from vfs.store.s3.keys import Keys, decoded, fits_xml
from vfs.store.s3.location import Location
from vfs.store.s3.transport import WireBody
from vfs.types import ETag, Key

PAGE_MAX = 1000


class S3Store:
    """Objects in one bucket under one prefix. Opened by its first call."""

    def __init__(self, location: Location, *, connections: int = 64) -> None:
        self._location = location
        self._client = Client(location, connections)
        self._keys = Keys(location.prefix)
        self.capabilities = Capabilities(max_key=self._keys.longest)
        self._begun: dict[UploadId, ObjectMeta] = {}

    def __repr__(self) -> str:
        return f"<S3Store s3://{self._location.bucket}/{self._location.prefix}>"

    # -- whole objects ---------------------------------------------------------------------------------------

    async def head(self, key: Key) -> ObjectInfo:
        return await self._head(key)

    async def _head(self, key: Key, if_match: ETag | None = None) -> ObjectInfo:
        params = {} if if_match is None else {"IfMatch": quoted(if_match)}
        answer = await self._client.call("head_object", Key=self._keys.stored(key), **params)
        return described(key, answer)

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        if length == 0:
            return Fetched(await self._head(key, if_match), b"")
        params: dict[str, Any] = {} if if_match is None else {"IfMatch": quoted(if_match)}
        if start or length is not None:
            params["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        try:
            answer = await self._client.call("get_object", Key=self._keys.stored(key), **params)
        except RangeRefused:
            return Fetched(await self._head(key, if_match), b"")
        info = described(key, answer, whole_size(answer))
        expected = max(0, min(info.size - start, info.size if length is None else length))
        return Fetched(info, await _received(answer, expected, f"get_object {key!r}"))

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        self._check(meta)
        content = WireBody(body)
        try:
            answer = await self._client.call(
                "put_object",
                Key=self._keys.stored(key),
                Body=content if len(content) else b"",
                **_meta(meta),
                **_conditions(if_match, if_absent),
            )
        except ObjectNotFound as error:
            raise PreconditionFailed(str(error)) from error
        return ObjectInfo(key, len(content), etag(answer["ETag"]), stored_ns(answer), _frozen(meta))

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        params: dict[str, Any] = {"ContinuationToken": token} if token else {}
        if delimiter:
            params["Delimiter"] = delimiter
        answer = await self._client.call(
            "list_objects_v2",
            Prefix=self._keys.stored_prefix(prefix),
            MaxKeys=max(1, min(limit, PAGE_MAX)),
            EncodingType="url",
            **params,
        )
        objects = [
            ObjectInfo(
                self._keys.mounted(decoded(entry["Key"])),
                int(entry["Size"]),
                etag(entry["ETag"]),
                ns(entry.get("LastModified")),
            )
            for entry in answer.get("Contents", ())
        ]
        prefixes = [
            self._keys.mounted(decoded(entry["Prefix"])) for entry in answer.get("CommonPrefixes", ())
        ]
        more = answer.get("NextContinuationToken") if answer.get("IsTruncated") else None
        return ListPage(objects, prefixes, more)

    async def delete(self, key: Key) -> None:
        await self._client.call("delete_object", Key=self._keys.stored(key))

    async def delete_many(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        if len(keys) > PAGE_MAX:
            raise StoreError(f"{len(keys)} keys in one delete_many")
        if not keys:
            return {}
        failures: dict[Key, StoreFailure] = {}
        for key in keys:
            if not fits_xml(key):
                failures |= await self._delete_alone(key)
        objects = [{"Key": self._keys.stored(key)} for key in keys if fits_xml(key)]
        if objects:
            answer = await self._client.call("delete_objects", Delete={"Objects": objects, "Quiet": True})
            for entry in answer.get("Errors", ()):
                key = self._keys.mounted(entry["Key"])
                failures[key] = StoreFailure(key, f"{entry.get('Code', '')} {entry.get('Message', '')}")
        return failures

    async def _delete_alone(self, key: Key) -> Mapping[Key, StoreFailure]:
        try:
            await self.delete(key)
        except StoreUnavailable:
            raise
        except StoreError as error:
            return {key: StoreFailure(key, str(error))}
        return {}

    async def copy(
        self, source: Key, target: Key, meta: ObjectMeta | None = None, *, if_match: ETag | None = None
    ) -> ObjectInfo:
        params: dict[str, Any] = {}
        if meta is not None:
            self._check(meta)
            params = {"MetadataDirective": "REPLACE", **_meta(meta)}
        elif source == target:
            raise StoreError("a copy onto itself that changes nothing is refused by S3")
        if if_match is not None:
            params["CopySourceIfMatch"] = quoted(if_match)
        answer = await self._client.call(
            "copy_object", Key=self._keys.stored(target), CopySource=self._source(source), **params
        )
        result = answer["CopyObjectResult"]
        modified = ns(result.get("LastModified")) or stored_ns(answer)
        return ObjectInfo(target, UNKNOWN_SIZE, etag(result["ETag"]), modified, meta and _frozen(meta))

    # -- multipart uploads -----------------------------------------------------------------------------------

    async def create_upload(self, key: Key, meta: ObjectMeta) -> Upload:
        self._check(meta)
        answer = await self._client.call("create_multipart_upload", Key=self._keys.stored(key), **_meta(meta))
        upload = Upload(key, UploadId(answer["UploadId"]), stored_ns(answer))
        self._begun[upload.id] = _frozen(meta)
        return upload

    async def upload_part(self, upload: Upload, number: int, body: Body) -> Part:
        self._check_number(number)
        content = WireBody(body)
        answer = await self._client.call(
            "upload_part",
            Key=self._keys.stored(upload.key),
            UploadId=upload.id,
            PartNumber=number,
            Body=content if len(content) else b"",
        )
        return Part(number, etag(answer["ETag"]), len(content))

    async def copy_part(
        self,
        upload: Upload,
        number: int,
        source: Key,
        start: int,
        length: int,
        *,
        if_match: ETag | None = None,
    ) -> Part:
        self._check_number(number)
        params = {} if if_match is None else {"CopySourceIfMatch": quoted(if_match)}
        answer = await self._client.call(
            "upload_part_copy",
            Key=self._keys.stored(upload.key),
            UploadId=upload.id,
            PartNumber=number,
            CopySource=self._source(source),
            CopySourceRange=f"bytes={start}-{start + length - 1}",
            **params,
        )
        return Part(number, etag(answer["CopyPartResult"]["ETag"]), length)

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[Part],
        meta: ObjectMeta | None = None,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        if meta is not None:
            raise StoreError("this store takes metadata only when an upload begins")
        numbers = [part.number for part in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise StoreError("an upload is completed with at least one part, in ascending order")
        listed = [{"PartNumber": part.number, "ETag": quoted(part.etag)} for part in parts]
        try:
            answer = await self._client.call(
                "complete_multipart_upload",
                Key=self._keys.stored(upload.key),
                UploadId=upload.id,
                MultipartUpload={"Parts": listed},
                **_conditions(if_match, if_absent),
            )
        except ObjectNotFound as error:
            raise PreconditionFailed(str(error)) from error
        size = sum(part.size for part in parts)
        known = self._begun.pop(upload.id, None)
        return ObjectInfo(upload.key, size, etag(answer["ETag"]), stored_ns(answer), known)

    async def abort_upload(self, upload: Upload) -> None:
        self._begun.pop(upload.id, None)
        try:
            await self._client.call(
                "abort_multipart_upload", Key=self._keys.stored(upload.key), UploadId=upload.id
            )
        except (ObjectNotFound, UploadNotFound):
            return

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        found: list[Upload] = []
        marker: dict[str, str] = {}
        while True:
            answer = await self._client.call(
                "list_multipart_uploads",
                Prefix=self._keys.stored_prefix(prefix),
                EncodingType="url",
                **marker,
            )
            found += [
                Upload(
                    self._keys.mounted(decoded(entry["Key"])),
                    UploadId(entry["UploadId"]),
                    ns(entry.get("Initiated")),
                )
                for entry in answer.get("Uploads", ())
            ]
            if not answer.get("IsTruncated"):
                return found
            marker = {
                "KeyMarker": decoded(answer.get("NextKeyMarker", "")),
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        found: list[Part] = []
        while True:
            answer = await self._client.call(
                "list_parts",
                Key=self._keys.stored(upload.key),
                UploadId=upload.id,
                PartNumberMarker=found[-1].number if found else 0,
            )
            found += [
                Part(entry["PartNumber"], etag(entry["ETag"]), entry["Size"])
                for entry in answer.get("Parts", ())
            ]
            if not answer.get("IsTruncated") or not answer.get("Parts"):
                return found

    # -- the rest --------------------------------------------------------------------------------------------

    async def rename(self, source: Key, target: Key) -> None:
        raise StoreError("this store cannot rename")

    async def exchange(self, one: Key, other: Key) -> None:
        raise StoreError("this store cannot exchange")

    async def presign(self, key: Key, seconds: int) -> str:
        await self._head(key)
        return await self._client.presigned("get_object", seconds, Key=self._keys.stored(key))

    async def usage(self) -> Usage | None:
        return None

    async def aclose(self) -> None:
        await self._client.aclose()

    # -- what is asked ---------------------------------------------------------------------------------------

    def _source(self, key: Key) -> Mapping[str, str]:
        return {"Bucket": self._location.bucket, "Key": self._keys.stored(key)}

    def _check(self, meta: ObjectMeta) -> None:
        for name, value in meta.metadata.items():
            wrong = not (name + value).isascii() or not value.isprintable() or name != name.lower()
            if wrong or value != value.strip(" "):
                raise StoreError(f"metadata {name!r} is not a lower-case name with a printable ASCII value")
        size = sum(len(name) + len(value) for name, value in meta.metadata.items())
        if size > self.capabilities.max_metadata:
            raise AttributesTooBig(f"{size} bytes of metadata")

    def _check_number(self, number: int) -> None:
        if not 1 <= number <= self.capabilities.max_parts:
            raise StoreError(f"part number {number} is not in 1 to {self.capabilities.max_parts}")


def _meta(meta: ObjectMeta) -> Mapping[str, Any]:
    return {"Metadata": dict(meta.metadata), "ContentType": meta.content_type}


def _frozen(meta: ObjectMeta) -> ObjectMeta:
    """The caller may go on changing its own mapping."""
    return replace(meta, metadata=dict(meta.metadata))


def _conditions(if_match: ETag | None, if_absent: bool) -> Mapping[str, str]:
    if if_absent:
        return {"IfNoneMatch": "*"}
    return {} if if_match is None else {"IfMatch": quoted(if_match)}


async def _received(answer: Mapping[str, Any], expected: int, what: str) -> bytearray:
    """The body, written once into its place. Raises StoreUnavailable when it is not of the expected size."""
    response: httpx2.Response = answer["Body"].raw_stream
    data = bytearray(expected)
    view = memoryview(data)
    at = 0
    try:
        async with aclosing(response.aiter_raw()) as chunks:
            async for chunk in chunks:
                if at + len(chunk) > expected:
                    raise StoreUnavailable(f"{what}: more than the {expected} bytes that were asked for")
                view[at : at + len(chunk)] = chunk
                at += len(chunk)
    except FOREIGN as error:
        raise translated(error, what) from error
    finally:
        with trio.CancelScope(shield=True):
            await response.aclose()
    if at != expected:
        raise StoreUnavailable(f"{what}: {at} of {expected} bytes, then the answer ended")
    return data
