"""The body of a GET, into its place in one copy."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import httpx2
import trio
from cachetools import LRUCache

from vfs.errors import StoreError, StoreUnavailable
from vfs.store.s3.answers import etag, is_hashed, whole_size
from vfs.store.s3.faults import FOREIGN, translated
from vfs.types import ETag

AT_ONCE = 256 << 10
"""Bytes that are hashed on the spot, in under a millisecond; more goes to a thread."""

_MD5 = re.compile(r"[0-9a-f]{32}")


async def received(answer: Mapping[str, Any], start: int, length: int | None, what: str) -> bytearray:
    """The bytes [start, start+length) as far as they exist; fewer only if the answer itself announces fewer.

    Somebody on the way has cut it then: who gets it must compare. botocore's own reader keeps all chunks and then
    joins them: twice the memory. Raises StoreUnavailable when the body is not of the size that was announced.
    """
    response: httpx2.Response = answer["Body"].raw_stream
    try:
        size = whole_size(answer)
        expected = max(0, size - start if length is None else min(size - start, length))
        announced = int(answer.get("ContentLength", expected))
        if announced > expected:
            raise StoreError(f"{what}: the store does not answer with the range that was asked for")
        return await _filled(response, announced, what)
    except FOREIGN as error:
        raise translated(error, what) from error
    finally:
        with trio.CancelScope(shield=True):
            await response.aclose()


class Checked:
    """Compares whole objects that were put in one piece with their etag, which is their MD5 but under KMS.

    Of a range, or of an object of several parts, nothing can be told. A store may make up etags that look like an MD5
    (of copies, say): bytes that come twice the same are what is stored.
    """

    def __init__(self) -> None:
        self._doubted: LRUCache[ETag, str] = LRUCache(256)

    async def check(self, data: bytearray, answer: Mapping[str, Any], what: str) -> None:
        """Raises StoreUnavailable for bytes that may have been damaged on their way: another try may do."""
        tag = etag(answer.get("ETag", ""))
        if not is_hashed(answer) or not _MD5.fullmatch(tag) or len(data) != whole_size(answer):
            return
        digest = _md5(data) if len(data) <= AT_ONCE else await trio.to_thread.run_sync(_md5, data)
        if digest == tag:
            self._doubted.pop(tag, None)
        elif self._doubted.get(tag) != digest:
            self._doubted[tag] = digest
            raise StoreUnavailable(f"{what}: the bytes that came are not those that were stored")


def _md5(data: bytearray) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def _filled(response: httpx2.Response, expected: int, what: str) -> bytearray:
    data = bytearray(expected)
    view = memoryview(data)
    at = 0
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            if at + len(chunk) > expected:
                raise StoreUnavailable(f"{what}: more than the {expected} bytes that were announced")
            view[at : at + len(chunk)] = chunk
            at += len(chunk)
    if at != expected:
        raise StoreUnavailable(f"{what}: {at} of {expected} bytes, then the answer ended")
    return data
