"""S3Store: the ObjectStore protocol in S3's calls. One request per call, never repeated: that is Retry's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vfs.errors import ObjectNotFound, PreconditionFailed, StoreError, StoreUnavailable
from vfs.store.base import (
    UNKNOWN_SIZE,
    Body,
    Capabilities,
    Fetched,
    ListPage,
    ObjectInfo,
    ObjectMeta,
    ObjectStore,
    Part,
    StoreFailure,
    Upload,
    Usage,
)
from vfs.store.s3.answers import described, etag, new_etag, ns, quoted, stored_ns, whole_size
from vfs.store.s3.bucket import Bucket, frozen
from vfs.store.s3.download import Checked, received
from vfs.store.s3.endpoint import with_endpoint
from vfs.store.s3.faults import RangeRefused
from vfs.store.s3.keys import decoded, fits_xml
from vfs.store.s3.location import Location
from vfs.store.s3.probe import Findings, Probing
from vfs.store.s3.record import check_record
from vfs.store.s3.transport import WireBody
from vfs.store.s3.uploads import Uploads
from vfs.types import ETag, Key

PAGE_MAX = 1000


class S3Store:
    """Objects in one bucket under one prefix. Connects at its first call.

    `findings` are what is known of it; `prepare` finds them out.
    """

    def __init__(
        self, location: Location, *, connections: int = 64, findings: Findings | None = None
    ) -> None:
        self._location = location = with_endpoint(location)
        self._bucket = Bucket(location, connections)
        self._bucket.learn(findings or Findings())
        self._uploads = Uploads(self._bucket)
        self._checked = Checked()

    def __repr__(self) -> str:
        return f"<S3Store s3://{self._location.bucket}/{self._location.prefix}>"

    @property
    def capabilities(self) -> Capabilities:
        return self._bucket.capabilities

    @property
    def findings(self) -> Findings:
        """What the store was found to be; before `prepare`, and for AWS itself, all that S3 has."""
        return self._bucket.found

    @property
    def endpoint(self) -> str:
        """Where requests go, and who says so if it is not the URL."""
        location = self._location
        by = f", from {location.endpoint_from}" if location.endpoint_from else ""
        return f"{location.endpoint}{by}" if location.endpoint else f"AWS {location.region}".rstrip()

    async def prepare(self, asked: ObjectStore, place: str, *, write: bool) -> None:
        """To be called once before all else: finds out what this store can do and if it was used like this before.

        `asked` is this store with what makes calls bounded around it; `place` is where our own objects may lie.
        Raises StoreError and ConfigError, one line each.
        """
        if write and self._location.endpoint:
            self._bucket.learn(await Probing(asked, place, self._bucket.unquote).run())
        await check_record(asked, place, self._location.keys, write=write)

    # -- whole objects ---------------------------------------------------------------------------------------

    async def head(self, key: Key) -> ObjectInfo:
        return await self._bucket.head(key)

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        if length == 0:
            return Fetched(await self._bucket.head(key, if_match), b"")
        params: dict[str, Any] = {} if if_match is None else {"IfMatch": quoted(if_match)}
        if start or length is not None:
            params["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"

        async def take(answer: Any) -> Fetched:
            data = await received(answer, start, length, f"get_object {key!r}")
            if self._bucket.found.md5 and start == 0:
                await self._checked.check(data, answer, f"get_object {key!r}")
            return Fetched(described(key, answer, whole_size(answer)), data)

        try:
            return await self._bucket.fetch(take, Key=self._bucket.keys.stored(key), **params)
        except RangeRefused:
            # S3 tells nothing else of the object in this answer
            return Fetched(await self._bucket.head(key, if_match), b"")

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        bucket = self._bucket
        content = WireBody(body)
        try:
            answer = await bucket.call(
                "put_object",
                Key=bucket.keys.stored(key),
                Body=content if len(content) else b"",
                **bucket.meta(meta),
                **bucket.conditions(if_match, if_absent),
            )
        except ObjectNotFound as error:
            raise PreconditionFailed(str(error)) from error
        return ObjectInfo(
            key, len(content), new_etag(answer, f"put {key!r}"), stored_ns(answer), frozen(meta)
        )

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        if "\0" in prefix:
            return ListPage([], [])  # in no key, and an error to some stores
        while True:
            page = await self._page(prefix, delimiter, token, limit)
            if page.objects or page.prefixes or page.token is None:
                return page
            token = page.token  # nothing on it but keys that others wrote and this encoding never makes

    async def _page(self, prefix: str, delimiter: str, token: str | None, limit: int) -> ListPage:
        keys = self._bucket.keys
        params: dict[str, Any] = {"ContinuationToken": token} if token else {}
        if delimiter:
            params["Delimiter"] = delimiter
            if prefix and not token:  # a directory of 1,000 files is one page although it has a marker
                params["StartAfter"] = keys.stored_prefix(prefix)
        answer = await self._bucket.call(
            "list_objects_v2",
            Prefix=keys.stored_prefix(prefix),
            MaxKeys=max(1, min(limit, PAGE_MAX)),
            EncodingType="url",
            **params,
        )
        objects = [
            ObjectInfo(key, int(entry["Size"]), etag(entry["ETag"]), ns(entry.get("LastModified")))
            for entry in answer.get("Contents", ())
            if (key := keys.mounted(decoded(entry["Key"]))) is not None
        ]
        prefixes = [
            key
            for entry in answer.get("CommonPrefixes", ())
            if (key := keys.mounted(decoded(entry["Prefix"]))) is not None
        ]
        more = answer.get("NextContinuationToken") if answer.get("IsTruncated") else None
        return ListPage(objects, prefixes, more)

    async def delete(self, key: Key) -> None:
        await self._bucket.call("delete_object", Key=self._bucket.keys.stored(key))

    async def delete_many(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        if len(keys) > PAGE_MAX:
            raise StoreError(f"{len(keys)} keys in one delete_many")
        bucket = self._bucket
        failures: dict[Key, StoreFailure] = {}
        for key in keys:
            if not fits_xml(key):
                failures |= await self._delete_alone(key)
        stored = {bucket.keys.stored(key): key for key in keys if fits_xml(key)}
        if stored:
            objects = [{"Key": name} for name in stored]
            answer = await bucket.call("delete_objects", Delete={"Objects": objects, "Quiet": True})
            for entry in answer.get("Errors", ()):
                key = stored.get(entry.get("Key", ""), keys[0])
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
        bucket = self._bucket
        params: dict[str, Any] = {}
        if meta is not None:
            params = {"MetadataDirective": "REPLACE", **bucket.meta(meta)}
        elif source == target:
            raise StoreError("a copy onto itself that changes nothing is refused by S3")
        answer = await bucket.call(
            "copy_object", Key=bucket.keys.stored(target), **bucket.source(source, if_match), **params
        )
        result = answer.get("CopyObjectResult", {})
        modified = ns(result.get("LastModified")) or stored_ns(answer)
        return ObjectInfo(
            target, UNKNOWN_SIZE, new_etag(result, f"copy {target!r}"), modified, meta and frozen(meta)
        )

    # -- multipart uploads -----------------------------------------------------------------------------------

    async def create_upload(self, key: Key, meta: ObjectMeta) -> Upload:
        return await self._uploads.create(key, meta)

    async def upload_part(self, upload: Upload, number: int, body: Body) -> Part:
        return await self._uploads.upload_part(upload, number, body)

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
        return await self._uploads.copy_part(upload, number, source, start, length, if_match)

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
        return await self._uploads.complete(upload, parts, if_match, if_absent)

    async def abort_upload(self, upload: Upload) -> None:
        await self._uploads.abort(upload)

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        return await self._uploads.under(prefix)

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        return await self._uploads.parts(upload)

    # -- the rest --------------------------------------------------------------------------------------------

    async def rename(self, source: Key, target: Key) -> None:
        raise StoreError("this store cannot rename")

    async def exchange(self, one: Key, other: Key) -> None:
        raise StoreError("this store cannot exchange")

    async def presign(self, key: Key, seconds: int) -> str:
        await self._bucket.head(key)
        return await self._bucket.client.presigned("get_object", seconds, Key=self._bucket.keys.stored(key))

    async def usage(self) -> Usage | None:
        return None

    async def aclose(self) -> None:
        await self._bucket.client.aclose()
