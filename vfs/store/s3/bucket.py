"""One bucket and prefix: the calls with what the URL's options add to them, and what several calls are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from vfs.errors import AttributesTooBig, ObjectNotFound, PreconditionFailed, StoreError
from vfs.store.base import Capabilities, Fetched, ObjectInfo, ObjectMeta
from vfs.store.s3.answers import described, quoted
from vfs.store.s3.client import Client
from vfs.store.s3.keys import Keys
from vfs.store.s3.location import Location
from vfs.store.s3.probe import Findings
from vfs.types import ETag, Key

_CREATING = frozenset({"put_object", "copy_object", "create_multipart_upload"})


class Bucket:
    """What an S3Store's calls have in common."""

    def __init__(self, location: Location, connections: int) -> None:
        self.location = location
        self.client = Client(location, connections)
        self.keys = Keys(location.prefix, restricted=location.keys == "restricted")
        self.found = Findings()
        self.capabilities = Capabilities(
            max_key=self.keys.longest,
            key_size=self.keys.size,
            part_size=location.part_size,
            equal_parts=location.equal_parts,
        )
        self._everywhere, self._creating = _added(location)

    def learn(self, found: Findings) -> None:
        """From now on the store is used as what it was found to be."""
        self.found = found
        self.capabilities = replace(
            self.capabilities,
            conditional_put=found.if_none_match and found.if_match,
            conditional_copy=found.conditional_copy,
            copy_part=found.copy_part,
            max_parts=found.max_parts,
        )

    def unquote(self) -> None:
        """If-Match is sent bare: Ceph compares it with the quotes."""
        self.found = replace(self.found, quoted=False)

    async def call(self, operation: str, **params: Any) -> Any:
        """One request. Raises only VfsErrors."""
        added = {**self._everywhere, **self._creating} if operation in _CREATING else self._everywhere
        return await self.client.call(operation, {**params, **added})

    async def fetch(self, take: Callable[[Any], Awaitable[Fetched]], **params: Any) -> Fetched:
        """A GET; `take` reads the answer's body."""
        answer = await self.client.call("get_object", {**params, **self._everywhere}, take)
        assert isinstance(answer, Fetched)
        return answer

    async def head(self, key: Key, if_match: ETag | None = None) -> ObjectInfo:
        params = {} if if_match is None else {"IfMatch": quoted(if_match)}
        answer = await self.call("head_object", Key=self.keys.stored(key), **params)
        info = described(key, answer)
        return info if self.found.md5 else replace(info, hashed=False)

    async def compare(self, key: Key, if_match: ETag | None, if_absent: bool = False) -> None:
        """A precondition that the store ignores, checked beforehand: another writer may still come between."""
        if if_match is None and not if_absent:
            return
        try:
            current = (await self.head(key)).etag
        except ObjectNotFound:
            if if_match is not None:
                raise PreconditionFailed(f"{key!r} is gone") from None
            return
        if if_absent or current != if_match:
            raise PreconditionFailed(f"{key!r} is {current}")

    def conditions(self, if_match: ETag | None, if_absent: bool) -> Mapping[str, str]:
        """Of a put or a completion."""
        if if_absent:
            return {"IfNoneMatch": "*"}
        if if_match is None:
            return {}
        return {"IfMatch": quoted(if_match) if self.found.quoted else if_match}

    def source(self, key: Key, if_match: ETag | None) -> Mapping[str, Any]:
        """Of a copy, with its precondition."""
        source = {"CopySource": {"Bucket": self.location.bucket, "Key": self.keys.stored(key)}}
        return source if if_match is None else {**source, "CopySourceIfMatch": quoted(if_match)}

    def meta(self, meta: ObjectMeta) -> Mapping[str, Any]:
        """As parameters. Raises AttributesTooBig, and StoreError for what no header can carry."""
        for name, value in meta.metadata.items():
            wrong = not (name + value).isascii() or not value.isprintable() or name != name.lower()
            if wrong or value != value.strip(" "):
                raise StoreError(f"metadata {name!r} is not a lower-case name with a printable ASCII value")
        size = sum(len(name) + len(value) for name, value in meta.metadata.items())
        if size > self.capabilities.max_metadata:
            raise AttributesTooBig(f"{size} bytes of metadata")
        return {"Metadata": dict(meta.metadata), "ContentType": meta.content_type}


def frozen(meta: ObjectMeta) -> ObjectMeta:
    """The caller may go on changing its own mapping."""
    return replace(meta, metadata=dict(meta.metadata))


def _added(location: Location) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Parameters of all calls, and of those that create objects."""
    everywhere = {"RequestPayer": "requester"} if location.request_payer else {}
    creating = {
        "ServerSideEncryption": location.sse,
        "SSEKMSKeyId": location.sse_key,
        "StorageClass": location.storage_class,
    }
    return everywhere, {name: value for name, value in creating.items() if value}
