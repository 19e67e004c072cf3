"""The ObjectStore protocol: what agentfs asks of object storage, and nothing more.

The shape is S3's (docs.aws.amazon.com/AmazonS3/latest/API), so that an S3 store is a thin translation and
every other store has one clear contract to meet: `tests/contract` runs on all of them.

Bodies are handed over as sequences of buffers, so that file data is never joined or copied on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from vfs.types import Buffer, ETag, Key

Body = Sequence[Buffer]
"""Content as buffers in order. The callee only reads them; the caller leaves them unchanged meanwhile."""

UploadId = NewType("UploadId", str)

UNKNOWN_SIZE = -1
"""Of an object that `copy` made, on stores that do not tell it (S3)."""

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this store can do. Probed or declared, never assumed; sizes are bytes."""

    conditional_put: bool = True
    conditional_copy: bool = True
    """`if_match` is honoured on put, complete_upload (`conditional_put`), copy and copy_part."""
    copy_part: bool = True
    rename: bool = False
    """`rename` exists: atomic, for one object or for all under a prefix. S3 has none (copy, then delete)."""
    exchange: bool = False
    """`exchange` exists: two objects or prefixes change places atomically."""
    list_metadata: bool = False
    """Listings carry each object's metadata, so that no `head` per entry is needed."""
    firm_prefixes: bool = True
    """A prefix that a listing shows has keys. An empty directory that people made in a file:// store has none."""
    late_meta: bool = False
    """`complete_upload` takes the metadata. Elsewhere what `create_upload` was given stays (S3)."""
    part_size: int = 0
    """Size of parts to be used with this store; 0: as the mount is configured."""
    equal_parts: bool = False
    """All parts of an upload but the last must have the same size (Cloudflare R2)."""
    min_part: int = 5 * MIB
    """Least size of every part but the last."""
    max_parts: int = 10_000
    max_put: int = 5 * GIB
    max_copy: int = 5 * GIB
    """Largest object for `copy` and largest range for `copy_part`."""
    max_object: int = 5 * 1024 * GIB
    max_key: int = 1024
    """Bytes, as `key_size` counts them."""
    key_size: Callable[[str], int] = field(default=lambda key: len(key.encode()), compare=False)
    """Bytes that a key takes in the store: of UTF-8, or more where it must encode them."""
    max_metadata: int = 2048
    """Bytes of user metadata, names and values together."""


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What is stored beside the bytes. Metadata names are lower case, values printable ASCII, not beginning
    or ending with a blank (HTTP would cut that off)."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One version of one object. `meta` is None where the store did not tell it.

    Two are equal when they are the same version; S3 tells the exact time of it only to those who ask.
    """

    key: Key
    size: int
    etag: ETag
    modified_ns: int = field(compare=False)
    meta: ObjectMeta | None = None
    hashed: bool = field(default=True, compare=False)
    """An etag that looks like an MD5 is that of the content. False where the store says that it is none (SSE-KMS)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Answer of `get`: the version it came from and the bytes of the asked range that exist."""

    info: ObjectInfo
    data: Buffer


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page, in UTF-8 byte order of keys as the store has them.

    `prefixes` are the rolled-up keys that end in the delimiter. `token` continues after this page; None when it
    was the last one.
    """

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[Key]
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: Key
    id: UploadId
    begun_ns: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part: 1 <= number <= max_parts."""

    number: int
    etag: ETag
    size: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Room in the store, bytes; what statfs(2) reports."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class StoreFailure:
    """Why one key of a `delete_many` was not deleted."""

    key: Key
    reason: str


class ObjectStore(Protocol):
    """All calls raise only `StoreError` and its kin. All are safe to cancel: the outcome is then unknown.

    A call that returned is durable and visible to every later call (read-after-write).
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def head(self, key: Key) -> ObjectInfo:
        """The current version, with `meta`. Raises ObjectNotFound."""

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        """Bytes [start, start+length) as far as they exist; empty when `start` is at or past the end.

        Raises ObjectNotFound; PreconditionFailed when `if_match` is not the current version.
        """

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Replaces or creates the object in one step. Raises PreconditionFailed and changes nothing then."""

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        """At most `limit` (1 to 1000) objects and prefixes together. An unknown prefix is an empty page.

        With a delimiter the object whose key is `prefix` may be left out.
        """

    async def delete(self, key: Key) -> None:
        """Deletes if present; absent is success (as in S3)."""

    async def delete_many(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        """Deletes up to 1000. Returns only the failures, each with its reason."""

    async def copy(
        self, source: Key, target: Key, meta: ObjectMeta | None = None, *, if_match: ETag | None = None
    ) -> ObjectInfo:
        """Server-side copy, up to `max_copy`. `meta` None keeps the source's; else it replaces all of it.

        `source == target` with `meta` changes metadata in place. `if_match` speaks of the source.
        What the store does not tell of the copy is UNKNOWN_SIZE and None: see `vfs.store.copying`.
        Raises ObjectNotFound, PreconditionFailed.
        """

    async def create_upload(self, key: Key, meta: ObjectMeta) -> Upload:
        """Begins a multipart upload. Nothing is visible at the key until it is completed."""

    async def upload_part(self, upload: Upload, number: int, body: Body) -> Part:
        """Stores one part; a second upload of the same number replaces it. Raises UploadNotFound."""

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
        """A part from bytes [start, start+length) of an object. Raises as `upload_part` and `get` do."""

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[Part],
        meta: ObjectMeta | None = None,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        """The parts, in ascending order, become the object in one step. Raises as `put`, UploadNotFound.

        `meta` replaces what the upload was begun with: only with `capabilities.late_meta`. A store may answer to a
        second completion with the same parts as to the first one (S3 does, for a while).
        """

    async def abort_upload(self, upload: Upload) -> None:
        """Frees the parts; an unknown upload is success."""

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """All unfinished uploads under the prefix."""

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        """Parts stored so far, ascending. Raises UploadNotFound."""

    async def rename(self, source: Key, target: Key) -> None:
        """Only with `capabilities.rename`. Keys that end in `/` move everything under them.

        Replaces `target` (for prefixes: an empty one). Raises ObjectNotFound, KeyRefused.
        """

    async def exchange(self, one: Key, other: Key) -> None:
        """Only with `capabilities.exchange`. Both must exist. Raises ObjectNotFound."""

    async def presign(self, key: Key, seconds: int) -> str:
        """A URL that reads the object without credentials for a while (file:// URL where there are none)."""

    async def usage(self) -> Usage | None:
        """Room left, where the store knows; None where it is as good as endless."""

    async def aclose(self) -> None:
        """Frees connections and threads. No call may follow."""
