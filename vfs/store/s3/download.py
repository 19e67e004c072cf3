"""The body of a GET, into its place in one copy."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import httpx2
import trio

from vfs.errors import StoreError, StoreUnavailable
from vfs.store.s3.answers import whole_size
from vfs.store.s3.faults import FOREIGN, translated


async def received(answer: Mapping[str, Any], start: int, length: int | None, what: str) -> bytearray:
    """The bytes [start, start+length) as far as they exist; never fewer, whatever happens to the connection.

    botocore's own reader keeps all chunks and then joins them: twice the memory. Raises StoreUnavailable when
    the body is not of the size that was announced.
    """
    response: httpx2.Response = answer["Body"].raw_stream
    try:
        size = whole_size(answer)
        expected = max(0, size - start if length is None else min(size - start, length))
        if int(answer.get("ContentLength", expected)) != expected:
            raise StoreError(f"{what}: the store does not answer with the range that was asked for")
        return await _filled(response, expected, what)
    except FOREIGN as error:
        raise translated(error, what) from error
    finally:
        with trio.CancelScope(shield=True):
            await response.aclose()


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
