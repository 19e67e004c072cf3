"""Multipart uploads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vfs.errors import ObjectNotFound, PreconditionFailed, StoreError, StoreUnavailable, UploadNotFound
from vfs.store.base import Body, ObjectInfo, ObjectMeta, Part, Upload, UploadId
from vfs.store.s3.answers import etag, new_etag, ns, quoted, stored_ns
from vfs.store.s3.bucket import Bucket, frozen
from vfs.store.s3.keys import decoded
from vfs.store.s3.transport import WireBody
from vfs.types import ETag, Key

SUM = "CRC32"
"""What botocore adds to bodies with checksums=when_supported."""


class Uploads:
    """The part of the ObjectStore protocol that is about them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._begun: dict[UploadId, ObjectMeta] = {}
        """Of uploads begun here: S3 does not tell it when they are completed. As many as are under way."""
        self._summed = bucket.location.checksums == "when_supported"
        self._sums: dict[UploadId, dict[int, str]] = {}
        """Checksums of parts, where they are sent: S3 wants all of them again at the completion."""

    async def create(self, key: Key, meta: ObjectMeta) -> Upload:
        stored = self._bucket.keys.stored(key)
        summed = {"ChecksumAlgorithm": SUM} if self._summed else {}
        params = {**self._bucket.meta(meta), **summed}
        answer = await self._bucket.call("create_multipart_upload", Key=stored, **params)
        if not answer.get("UploadId"):
            raise StoreUnavailable(f"create_upload {key!r}: the store says success and does not tell the id")
        upload = Upload(key, UploadId(answer["UploadId"]), stored_ns(answer))
        self._begun[upload.id] = frozen(meta)
        return upload

    async def upload_part(self, upload: Upload, number: int, body: Body) -> Part:
        content = WireBody(body)
        place = self._part(upload, number)
        answer = await self._bucket.call("upload_part", **place, Body=content if len(content) else b"")
        self._remember(upload, number, answer)
        return Part(number, new_etag(answer, f"upload_part {upload.key!r}"), len(content))

    async def copy_part(
        self, upload: Upload, number: int, source: Key, start: int, length: int, if_match: ETag | None
    ) -> Part:
        bucket = self._bucket
        place = self._part(upload, number)
        if not bucket.found.conditional_copy_part:
            await bucket.compare(source, if_match)
            if_match = None
        answer = await bucket.call(
            "upload_part_copy",
            **place,
            **bucket.source(source, if_match),
            CopySourceRange=f"bytes={start}-{start + length - 1}",
        )
        result = answer.get("CopyPartResult", {})
        self._remember(upload, number, result)
        return Part(number, new_etag(result, f"copy_part {upload.key!r}"), length)

    async def complete(
        self, upload: Upload, parts: Sequence[Part], if_match: ETag | None, if_absent: bool
    ) -> ObjectInfo:
        numbers = [part.number for part in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise StoreError("an upload is completed with at least one part, in ascending order")
        conditions = self._bucket.conditions(if_match, if_absent)
        if not self._bucket.found.conditional_complete:
            await self._bucket.compare(upload.key, if_match, if_absent)
            conditions = {}
        sums = self._sums.get(upload.id, {})
        listed = [
            {"PartNumber": part.number, "ETag": quoted(part.etag)}
            | ({f"Checksum{SUM}": sums[part.number]} if part.number in sums else {})
            for part in parts
        ]
        try:
            answer = await self._bucket.call(
                "complete_multipart_upload",
                **self._place(upload),
                MultipartUpload={"Parts": listed},
                **conditions,
            )
        except ObjectNotFound as error:
            raise PreconditionFailed(str(error)) from error
        size = sum(part.size for part in parts)
        if answer.get("Key") and not answer.get("ETag"):  # Ceph 16 names the object, and not its version
            found = await self._bucket.head(upload.key)
            answer = {**answer, "ETag": found.etag} if found.size == size else answer
        tag = new_etag(answer, f"complete_upload {upload.key!r}")
        self._sums.pop(upload.id, None)
        return ObjectInfo(upload.key, size, tag, stored_ns(answer), self._begun.pop(upload.id, None))

    async def abort(self, upload: Upload) -> None:
        self._begun.pop(upload.id, None)
        self._sums.pop(upload.id, None)
        try:
            await self._bucket.call("abort_multipart_upload", **self._place(upload))
        except (ObjectNotFound, UploadNotFound):
            return

    async def under(self, prefix: str) -> Sequence[Upload]:
        found: list[Upload] = []
        marker: dict[str, str] = {}
        keys = self._bucket.keys
        while True:
            answer = await self._bucket.call(
                "list_multipart_uploads", Prefix=keys.stored_prefix(prefix), EncodingType="url", **marker
            )
            for entry in answer.get("Uploads", ()):
                key = keys.mounted(decoded(entry["Key"]))
                if key is not None:
                    found.append(Upload(key, UploadId(entry["UploadId"]), ns(entry.get("Initiated"))))
            if not answer.get("IsTruncated") or not answer.get("Uploads"):
                return found
            marker = {
                "KeyMarker": decoded(answer.get("NextKeyMarker", "")),
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }

    async def parts(self, upload: Upload) -> Sequence[Part]:
        found: list[Part] = []
        while True:
            marker = found[-1].number if found else 0
            answer = await self._bucket.call("list_parts", **self._place(upload), PartNumberMarker=marker)
            for entry in answer.get("Parts", ()):
                found.append(Part(entry["PartNumber"], etag(entry["ETag"]), entry["Size"]))
            if not answer.get("IsTruncated") or not answer.get("Parts"):
                return found

    def _remember(self, upload: Upload, number: int, answer: Mapping[str, Any]) -> None:
        found = answer.get(f"Checksum{SUM}")
        if self._summed and found:
            self._sums.setdefault(upload.id, {})[number] = found

    def _place(self, upload: Upload) -> dict[str, Any]:
        return {"Key": self._bucket.keys.stored(upload.key), "UploadId": upload.id}

    def _part(self, upload: Upload, number: int) -> dict[str, Any]:
        most = self._bucket.capabilities.max_parts
        if not 1 <= number <= most:
            raise StoreError(f"part number {number} is not in 1 to {most}")
        return {**self._place(upload), "PartNumber": number}
