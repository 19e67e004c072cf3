"""Was it our own call? Decides from what is stored now, after an answer was lost and the repeat was refused.

A wrong "yes" would acknowledge data that is not stored; a wrong "no" costs an error, or a second copy of the
content beside the name. So whatever cannot be told is a "no". What there is to compare:

- The size, always.
- The metadata, where it is known. It carries the file's mtime in nanoseconds, so that two writers do not agree
  by chance. Empty metadata proves nothing.
- The etag, where it is an MD5: of the bytes after a put, of the parts' MD5s and "-" and their number after a
  multipart upload (docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html). Under
  SSE-KMS an etag looks like an MD5 and is none, which the store tells with the object (`ObjectInfo.hashed`).
- Where the etag says nothing, metadata decides, and then the version must not be older than the call.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import trio

from vfs.store.base import Body, ObjectInfo, ObjectMeta, Part
from vfs.types import ETag

AT_ONCE = 256 * 1024
"""Bytes that are hashed on the spot, in under a millisecond; more goes to a thread."""

CLOCK_SLACK_NS = 900 * 10**9
"""How far the store's clock may be behind: with more (15 min), AWS refuses every request."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_HASHED = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")


async def is_put(found: ObjectInfo, body: Body, meta: ObjectMeta, *, begun_ns: int) -> bool:
    """The object is what a put of `body` with `meta` leaves behind. Hashes only when all else agrees."""
    size = sum(memoryview(buffer).nbytes for buffer in body)
    if found.size != size or not _has(found, meta):
        return False
    if found.hashed and _MD5.fullmatch(found.etag):
        digest = _md5(body) if size <= AT_ONCE else await trio.to_thread.run_sync(_md5, body)
        return found.etag == digest
    return _told_apart(found, begun_ns) and not (found.hashed and _HASHED.fullmatch(found.etag))


def is_copy(
    found: ObjectInfo, source: ETag | None, meta: ObjectMeta | None, *, in_place: bool, begun_ns: int
) -> bool:
    """The object is what a copy of the version `source` with new metadata leaves behind.

    A copy keeps an etag that is an MD5. One of a multipart upload becomes another, which nobody can foretell; in
    place, what then has exactly the metadata that was asked for (mtime included) is ours. Elsewhere an older copy
    of the same file may have it too. Without new metadata nothing can be told.
    """
    if meta is None or not _has(found, meta):
        return False
    if found.hashed and source is not None and _MD5.fullmatch(source) and _MD5.fullmatch(found.etag):
        return found.etag == source
    return in_place and _told_apart(found, begun_ns)


def is_complete(
    found: ObjectInfo,
    parts: Sequence[Part],
    meta: ObjectMeta | None,
    *,
    begun_with: ObjectMeta | None = None,
    replaced: ETag | None,
    gone: bool,
    begun_ns: int,
) -> bool:
    """The object is what the completed upload of `parts` leaves behind; `replaced` was there before.

    `meta` is what it was completed with, else `begun_with` counts, where that is known. `gone`: the store does not
    know the upload any more. That alone says that it was completed or aborted, so where etags are no hashes size and
    metadata have to decide between the two, and they do not if the version that was to be replaced is still there.
    """
    told = begun_with if meta is None else meta
    if found.size != sum(part.size for part in parts) or (told is not None and not _has(found, told)):
        return False
    expected = _of_parts(parts)
    if found.hashed and expected is not None and _HASHED.fullmatch(found.etag):
        return found.etag == expected
    if found.etag == replaced:
        return False
    return gone or (told is not None and _told_apart(found, begun_ns))


def _has(found: ObjectInfo, meta: ObjectMeta) -> bool:
    return found.meta is not None and dict(found.meta.metadata) == dict(meta.metadata)


def _told_apart(found: ObjectInfo, begun_ns: int) -> bool:
    """Its metadata, which is ours, can be nobody else's, nor that of an earlier call."""
    own = found.meta is not None and bool(found.meta.metadata)
    return own and found.modified_ns >= begun_ns - CLOCK_SLACK_NS


def _md5(body: Body) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for buffer in body:
        digest.update(buffer)
    return digest.hexdigest()


def _of_parts(parts: Sequence[Part]) -> str | None:
    """The etag of a multipart upload; None where the parts' own etags are no hashes."""
    if not all(_MD5.fullmatch(part.etag) for part in parts):
        return None
    digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(parts)}"
