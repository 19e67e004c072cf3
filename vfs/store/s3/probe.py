"""What this store really does: S3 is what AWS does, and no two other stores leave out the same.

Asked once per mount, on objects of our own that are removed afterwards. AWS itself is known and not asked.
Preconditions are tried with an etag that is wrong, so that a store which ignores them is found out, and put is
tried with the right one too: Ceph compares it with the quotes that belong around it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio

from vfs.errors import (
    ObjectNotFound,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
    leading,
)
from vfs.store.base import ObjectMeta, ObjectStore, Part, Upload
from vfs.types import ETag, Key

WRONG = ETag("0123456789abcdef0123456789abcdef")
"""Looks like an etag, and is none."""

MOST_PARTS = 10_000
FEWER_PARTS = 1_000

TIDY_SECONDS = 10.0

META = ObjectMeta({"probe": "1"})


@dataclass(frozen=True, slots=True)
class Findings:
    """Each is True where the store does as AWS does."""

    md5: bool = True
    """The etag of a put is the MD5 of its bytes, by which they can be checked when they are read."""
    if_none_match: bool = True
    if_match: bool = True
    quoted: bool = True
    """If-Match of a put is understood with the quotes that RFC 9110 wants."""
    conditional_copy: bool = True
    copy_part: bool = True
    conditional_copy_part: bool = True
    conditional_complete: bool = True
    max_parts: int = MOST_PARTS


class Probing:
    """One round of questions. `unquote` makes the store send etags bare from then on."""

    def __init__(self, store: ObjectStore, place: str, unquote: Callable[[], None]) -> None:
        self._store = store
        self._key = Key(f"{place}probe-{secrets.token_hex(8)}")
        self._unquote = unquote
        self._found: dict[str, Any] = {}

    async def run(self) -> Findings:
        """Raises what the store refuses to us, StoreDenied or that there is no such bucket."""
        stored = await self._store.put(self._key, [b"1"], META)
        self._found["md5"] = stored.etag == hashlib.md5(b"1", usedforsecurity=False).hexdigest()
        try:
            await self._ask()
        finally:
            await tidied(lambda: self._store.delete(self._key))
        return Findings(**self._found)

    async def _ask(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for question in (self._absent, self._replaced, self._copied, self._uploaded):
                    nursery.start_soon(question)
        except BaseExceptionGroup as group:
            raise leading(group) from group
        if self._found["if_match"]:
            await self._right_etag()

    async def _absent(self) -> None:
        put = self._store.put
        self._found["if_none_match"] = await refused(lambda: put(self._key, [b"1"], META, if_absent=True))

    async def _replaced(self) -> None:
        put = self._store.put
        self._found["if_match"] = await refused(lambda: put(self._key, [b"1"], META, if_match=WRONG))

    async def _copied(self) -> None:
        copy = self._store.copy
        found = await refused(lambda: copy(self._key, self._key, META, if_match=WRONG))
        self._found["conditional_copy"] = found

    async def _uploaded(self) -> None:
        store = self._store
        upload = await store.create_upload(self._key, META)
        try:
            await self._copied_part(upload)
            part = await self._last_part(upload)
            self._found["conditional_complete"] = await refused(
                lambda: store.complete_upload(upload, [part], if_match=WRONG)
            )
        finally:
            await tidied(lambda: store.abort_upload(upload))

    async def _last_part(self, upload: Upload) -> Part:
        """Stores that allow fewer parts than S3 allow as many as Swift does."""
        for number in (MOST_PARTS, FEWER_PARTS):
            try:
                part = await self._store.upload_part(upload, number, [b"2"])
            except (StoreUnavailable, StoreDenied, StoreFull):
                raise
            except StoreError:
                continue
            self._found["max_parts"] = number
            return part
        raise StoreError(f"the store refuses part {FEWER_PARTS} of an upload: it cannot store large files")

    async def _copied_part(self, upload: Upload) -> None:
        async def copy(if_match: ETag | None) -> Part:
            return await self._store.copy_part(upload, 1, self._key, 0, 1, if_match=if_match)

        found = await refused(lambda: copy(WRONG))
        self._found["conditional_copy_part"] = found
        self._found["copy_part"] = found or await works(lambda: copy(None))

    async def _right_etag(self) -> None:
        current = await self._store.head(self._key)
        put = self._store.put
        if await works(lambda: put(self._key, [b"1"], META, if_match=current.etag)):
            return
        self._unquote()
        self._found["quoted"] = False
        self._found["if_match"] = await works(lambda: put(self._key, [b"1"], META, if_match=current.etag))


async def refused(call: Callable[[], Awaitable[object]]) -> bool:
    """The call fails because of its precondition, as it should. Other refusals mean that the store has none."""
    try:
        await call()
    except (StoreUnavailable, StoreDenied, StoreFull):
        raise
    except PreconditionFailed:
        return True
    except StoreError:
        return False
    return False


async def works(call: Callable[[], Awaitable[object]]) -> bool:
    """The store does what it is asked."""
    try:
        await call()
    except (StoreUnavailable, StoreDenied, StoreFull, ObjectNotFound):
        raise
    except StoreError:
        return False
    return True


async def tidied(call: Callable[[], Awaitable[object]]) -> None:
    """Removes what a question left; what is more important than that has been raised already."""
    with trio.CancelScope(shield=True), trio.move_on_after(TIDY_SECONDS), suppress(StoreError):
        await call()
