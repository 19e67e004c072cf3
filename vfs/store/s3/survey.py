"""Everything about a store that its user may want to know, for `agentfs doctor`: what was found, and what follows."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass

import httpx2

from vfs.errors import ConfigError, StoreError
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.store.s3.probe import Findings, tidied
from vfs.types import Key

SKEW_SECONDS = 300.0
"""A third of what AWS tolerates (15 min) before it refuses every request."""

URL_SECONDS = 10.0

NAMES = {
    "blanks": "a b  c ",
    "letters of all languages": "ü日\u0301",
    "emoji": "\U0001f600",
    "signs": "!#$&'()*+,;=@[]{}^`|~",
    "percent and backslash": "%41\\%",
    "quotes and brackets": "'\"<>",
    "line breaks": "a\nb\tc",
}
"""What names of files are made of, besides the plain letters that every store takes."""


@dataclass(frozen=True, slots=True)
class Row:
    """`follows` is what agentfs does because of it, "" where nothing is missing."""

    feature: str
    found: str
    follows: str = ""


async def survey(asked: ObjectStore, findings: Findings, place: str) -> list[Row]:
    """Asks what `prepare` did not. Raises StoreError when the store cannot be used at all."""
    questions = _Questions(asked, Key(f"{place}doctor-{secrets.token_hex(8)}/"))
    rows = _known(findings)
    for question in (questions.least_part, questions.characters, questions.url, questions.clock):
        try:
            rows.append(await question())
        except ConfigError:
            raise
        except StoreError as error:
            rows.append(Row(question.__name__.replace("_", " "), "failed", str(error)))
    return rows


def _known(found: Findings) -> list[Row]:
    def row(feature: str, there: bool, follows: str, missing: str = "missing") -> Row:
        return Row(feature, "yes" if there else missing, "" if there else follows)

    both = found.if_match and found.if_none_match
    rows = [
        row(
            "conditional put",
            both,
            "two hosts that write one file at once are noticed by a look beforehand only, not for certain",
        ),
        row(
            "conditional copy",
            found.conditional_copy,
            "a file that another host replaces while its attributes change here may get them too",
        ),
        row("UploadPartCopy", found.copy_part, "a change in a large file uploads all of it"),
        row(
            "conditional completion",
            found.conditional_complete,
            "the version of a large file is compared right before it is replaced, not in one step",
            "ignored",
        ),
    ]
    if both:
        rows.append(row("quoted If-Match", found.quoted, "etags are sent bare", "refused"))
    if found.copy_part:
        follows = "the version is compared right before it is copied from"
        rows.append(row("conditional UploadPartCopy", found.conditional_copy_part, follows, "ignored"))
    few = found.max_parts < Findings().max_parts
    rows.append(
        Row("parts of a file", f"{found.max_parts}", "files end earlier: see part_size" if few else "")
    )
    return rows


class _Questions:
    def __init__(self, store: ObjectStore, place: Key) -> None:
        self._store = store
        self._place = place

    async def least_part(self) -> Row:
        store, key = self._store, Key(f"{self._place}parts")
        upload = await store.create_upload(key, ObjectMeta())
        try:
            parts = [await store.upload_part(upload, number, [b"x"]) for number in (1, 2)]
            with suppress(StoreError):
                await store.complete_upload(upload, parts)
                return Row("least part", "not enforced")
            return Row("least part", "enforced, 5 MiB")
        finally:
            await tidied(lambda: store.abort_upload(upload))
            await tidied(lambda: store.delete(key))

    async def characters(self) -> Row:
        """Each kind of name in a key, there and back, by itself and in a listing."""
        refused = [kind for kind, name in NAMES.items() if not await self._comes_back(name)]
        if not refused:
            return Row("characters in keys", "all")
        return Row(
            "characters in keys", f"no {', '.join(refused)}", "such files fail: mount with keys=restricted"
        )

    async def _comes_back(self, name: str) -> bool:
        store, key = self._store, Key(f"{self._place}{name}")
        try:
            stored = await store.put(key, [name.encode()], ObjectMeta())
            head = await store.head(key)
            listed = [info.key for info in (await store.list(key)).objects]
            return head.etag == stored.etag and key in listed
        except StoreError:
            return False
        finally:
            await tidied(lambda: store.delete(key))

    async def url(self) -> Row:
        key = Key(f"{self._place}url é")
        await self._store.put(key, [b"by its URL"], ObjectMeta())
        try:
            url = await self._store.presign(key, 60)
            async with httpx2.AsyncClient(trust_env=False, timeout=URL_SECONDS) as client:
                answer = await client.get(url)
            if answer.content == b"by its URL":
                return Row("presigned URL", "works")
            return Row("presigned URL", f"status {answer.status_code}", "links to files cannot be given away")
        except httpx2.HTTPError as error:
            return Row("presigned URL", f"failed: {type(error).__name__}", "links cannot be given away")
        finally:
            await tidied(lambda: self._store.delete(key))

    async def clock(self) -> Row:
        key = Key(f"{self._place}clock")
        before = time.time()
        stored = await self._store.put(key, [b"x"], ObjectMeta())
        after = time.time()
        await tidied(lambda: self._store.delete(key))
        said = stored.modified_ns / 1e9
        skew = said - after if said > after else min(0.0, said + 1 - before)
        follows = "set this machine's clock, e.g. with chrony" if abs(skew) > SKEW_SECONDS else ""
        return Row(
            "clock", f"{skew:+.0f} s from the store's" if abs(skew) >= 1 else "as the store's", follows
        )
