"""MemoryStore: object storage as S3 does it, in a dict."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import trio

from vfs.errors import (
    AttributesTooBig,
    KeyRefused,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    UploadNotFound,
)
from vfs.store.base import (
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
from vfs.types import ETag, Key

S3_LIKE = Capabilities(min_part=1)
"""What S3 can do, but for the least size of a part: tests have small ones."""

PAGE_MAX = 1000


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    etag: ETag
    meta: ObjectMeta
    modified_ns: int

    def info(self, key: Key, *, meta: bool = True) -> ObjectInfo:
        return ObjectInfo(key, len(self.data), self.etag, self.modified_ns, self.meta if meta else None)


@dataclass(slots=True)
class _Upload:
    upload: Upload
    meta: ObjectMeta
    parts: dict[int, tuple[Part, bytes]] = field(default_factory=dict)


class MemoryStore:
    """An ObjectStore in a dict. Every call first gives way to other tasks, then happens in one step.

    As in S3, an etag is the MD5 of the content, or of the parts' MD5s (so equal contents put alike have equal
    etags), times are whole seconds, and there is neither rename nor metadata in listings unless the capabilities
    say so.
    """

    def __init__(self, capabilities: Capabilities = S3_LIKE) -> None:
        self.capabilities = capabilities
        self._objects: dict[Key, _Object] = {}
        self._uploads: dict[UploadId, _Upload] = {}
        self._serial = itertools.count(1)

    def __repr__(self) -> str:
        return f"<MemoryStore objects={len(self._objects)} uploads={len(self._uploads)}>"

    def stored(self) -> Sequence[Key]:
        """All keys in order, for assertions."""
        return sorted(self._objects)

    async def head(self, key: Key) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        return self._found(key).info(key)

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        await trio.lowlevel.checkpoint()
        found = self._matching(key, if_match)
        return Fetched(found.info(key), found.data[start : None if length is None else start + length])

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        data = b"".join(body)
        if len(data) > self.capabilities.max_put:
            raise StoreError(f"{len(data)} bytes in one put")
        self._require(key, if_match, if_absent)
        return self._store(key, data, _md5(data), meta)

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        await trio.lowlevel.checkpoint()
        objects: list[ObjectInfo] = []
        prefixes: list[Key] = []
        entries = self._entries(prefix, delimiter, token or "")
        page = entries[: max(1, min(limit, PAGE_MAX))]
        for name, found in page:
            if found is None:
                prefixes.append(name)
            else:
                objects.append(found.info(name, meta=self.capabilities.list_metadata))
        return ListPage(objects, prefixes, page[-1][0] if len(page) < len(entries) else None)

    def _entries(self, prefix: str, delimiter: str, after: str) -> Sequence[tuple[Key, _Object | None]]:
        entries: dict[Key, _Object | None] = {}
        for key in sorted(key for key in self._objects if key.startswith(prefix)):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else Key(key[: cut + len(delimiter)])
            if name > after:
                entries[name] = self._objects[key] if cut < 0 else None
        return list(entries.items())

    async def delete(self, key: Key) -> None:
        await trio.lowlevel.checkpoint()
        self._objects.pop(key, None)

    async def delete_many(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        await trio.lowlevel.checkpoint()
        if len(keys) > PAGE_MAX:
            raise StoreError(f"{len(keys)} keys in one delete_many")
        for key in keys:
            self._objects.pop(key, None)
        return {}

    async def copy(
        self, source: Key, target: Key, meta: ObjectMeta | None = None, *, if_match: ETag | None = None
    ) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        found = self._matching(source, if_match)
        if len(found.data) > self.capabilities.max_copy:
            raise StoreError(f"{len(found.data)} bytes in one copy")
        if source == target and meta is None:
            raise StoreError("a copy onto itself that changes nothing is refused, as S3 does")
        return self._store(target, found.data, found.etag, found.meta if meta is None else meta)

    async def create_upload(self, key: Key, meta: ObjectMeta) -> Upload:
        await trio.lowlevel.checkpoint()
        self._check(key, meta)
        upload = Upload(key, UploadId(f"upload-{next(self._serial)}"), time.time_ns())
        self._uploads[upload.id] = _Upload(upload, meta)
        return upload

    async def upload_part(self, upload: Upload, number: int, body: Body) -> Part:
        await trio.lowlevel.checkpoint()
        return self._store_part(upload, number, b"".join(body))

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
        await trio.lowlevel.checkpoint()
        if not self.capabilities.copy_part:
            raise StoreError("this store cannot copy parts")
        data = self._matching(source, if_match).data[start : start + length]
        if len(data) != length or length > self.capabilities.max_copy:
            raise StoreError(f"{source!r} has no range of {length} bytes at {start} to copy")
        return self._store_part(upload, number, data)

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[Part],
        meta: ObjectMeta | None = None,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        await trio.lowlevel.checkpoint()
        under_way = self._under_way(upload)
        if meta is not None and not self.capabilities.late_meta:
            raise StoreError("this store takes metadata only when an upload begins")
        numbers = [part.number for part in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise StoreError("an upload is completed with at least one part, in ascending order")
        for part in parts:
            if under_way.parts.get(part.number, (None, b""))[0] != part:
                raise StoreError(f"part {part.number} is not the one that was stored")
            if part.size < self.capabilities.min_part and part is not parts[-1]:
                raise StoreError(f"part {part.number} has only {part.size} bytes")
        self._require(upload.key, if_match, if_absent)
        data = b"".join(under_way.parts[number][1] for number in numbers)
        etag = ETag(f"{_md5(b''.join(bytes.fromhex(part.etag) for part in parts))}-{len(parts)}")
        info = self._store(upload.key, data, etag, under_way.meta if meta is None else meta)
        del self._uploads[upload.id]
        return info

    async def abort_upload(self, upload: Upload) -> None:
        await trio.lowlevel.checkpoint()
        self._uploads.pop(upload.id, None)

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        await trio.lowlevel.checkpoint()
        found = [entry.upload for entry in self._uploads.values() if entry.upload.key.startswith(prefix)]
        return sorted(found, key=lambda upload: (upload.key, upload.begun_ns))

    async def list_parts(self, upload: Upload) -> Sequence[Part]:
        await trio.lowlevel.checkpoint()
        return [part for _, (part, _) in sorted(self._under_way(upload).parts.items())]

    async def rename(self, source: Key, target: Key) -> None:
        await trio.lowlevel.checkpoint()
        if not self.capabilities.rename:
            raise StoreError("this store cannot rename")
        if source.endswith("/") != target.endswith("/"):
            raise KeyRefused(f"{source!r} cannot become {target!r}")
        self._moving(source)
        if source == target:
            return
        if target.startswith(source) and source.endswith("/"):
            raise KeyRefused(f"{target!r} lies inside {source!r}")
        if target.endswith("/") and any(key != target for key in self._moving_or_none(target)):
            raise KeyRefused(f"{target!r} is not empty")
        self._objects.pop(target, None)
        for key in self._moving(source):
            self._objects[Key(target + key[len(source) :])] = self._objects.pop(key)

    async def exchange(self, one: Key, other: Key) -> None:
        await trio.lowlevel.checkpoint()
        if not self.capabilities.exchange:
            raise StoreError("this store cannot exchange")
        first = {key: self._objects[key] for key in self._moving(one)}
        second = {key: self._objects[key] for key in self._moving(other)}
        for key in (*first, *second):
            del self._objects[key]
        self._objects |= {_exchanged(key, one, other): found for key, found in first.items()}
        self._objects |= {_exchanged(key, other, one): found for key, found in second.items()}

    async def presign(self, key: Key, seconds: int) -> str:
        await trio.lowlevel.checkpoint()
        self._found(key)
        return f"https://memory.invalid/{key}?expires={seconds}"

    async def usage(self) -> Usage | None:
        await trio.lowlevel.checkpoint()
        return None

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _found(self, key: Key) -> _Object:
        self._check(key, ObjectMeta())
        try:
            return self._objects[key]
        except KeyError as error:
            raise ObjectNotFound(f"no object {key!r}") from error

    def _matching(self, key: Key, if_match: ETag | None) -> _Object:
        found = self._found(key)
        if if_match not in (None, found.etag):
            raise PreconditionFailed(f"{key!r} is {found.etag}, not {if_match}")
        return found

    def _require(self, key: Key, if_match: ETag | None, if_absent: bool) -> None:
        if (if_match is not None or if_absent) and not self.capabilities.conditional_put:
            raise StoreError("this store takes no preconditions")
        current = self._objects.get(key)
        if if_absent and current is not None:
            raise PreconditionFailed(f"{key!r} exists")
        if if_match is not None and (current is None or current.etag != if_match):
            raise PreconditionFailed(f"{key!r} is not {if_match}")

    def _check(self, key: Key, meta: ObjectMeta) -> None:
        if not key or len(key.encode()) > self.capabilities.max_key:
            raise KeyRefused(f"key of {len(key.encode())} bytes")
        for name, value in meta.metadata.items():
            if not (name + value).isascii() or not value.isprintable() or name != name.lower():
                raise StoreError(f"metadata {name!r} is not a lower-case name with a printable ASCII value")
        if (
            sum(len(name) + len(value) for name, value in meta.metadata.items())
            > self.capabilities.max_metadata
        ):
            raise AttributesTooBig("too much metadata")

    def _store(self, key: Key, data: bytes, etag: ETag, meta: ObjectMeta) -> ObjectInfo:
        self._check(key, meta)
        modified = time.time_ns() // 10**9 * 10**9
        self._objects[key] = _Object(data, etag, replace(meta, metadata=dict(meta.metadata)), modified)
        return self._objects[key].info(key)

    def _under_way(self, upload: Upload) -> _Upload:
        found = self._uploads.get(upload.id)
        if found is None or found.upload.key != upload.key:
            raise UploadNotFound(f"no upload {upload.id!r} of {upload.key!r}")
        return found

    def _store_part(self, upload: Upload, number: int, data: bytes) -> Part:
        parts = self._under_way(upload).parts
        if not 1 <= number <= self.capabilities.max_parts:
            raise StoreError(f"part number {number} is not in 1 to {self.capabilities.max_parts}")
        part = Part(number, _md5(data), len(data))
        parts[number] = (part, data)
        return part

    def _moving(self, source: Key) -> Sequence[Key]:
        keys = self._moving_or_none(source)
        if not keys:
            raise ObjectNotFound(f"no object {source!r}")
        return keys

    def _moving_or_none(self, source: Key) -> Sequence[Key]:
        if source.endswith("/"):
            return [key for key in self._objects if key.startswith(source)]
        return [source] if source in self._objects else []


def _md5(data: bytes) -> ETag:
    return ETag(hashlib.md5(data, usedforsecurity=False).hexdigest())


def _exchanged(key: Key, place: Key, other: Key) -> Key:
    """Where `key`, at or below `place`, comes to lie; a file that changes places with a directory stays one."""
    if place.endswith("/") == other.endswith("/"):
        return Key(other + key[len(place) :])
    return Key(other.rstrip("/") + key[len(place.rstrip("/")) :])
