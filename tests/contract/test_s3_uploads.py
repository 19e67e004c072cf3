"""Multipart uploads with parts as large as real stores want them, on the stores that insist on it."""

from __future__ import annotations

import os
from typing import Any

import pytest
import trio

from tests.contract.stores import META, put
from vfs.errors import ObjectNotFound, PreconditionFailed, StoreError, StoreUnavailable
from vfs.store.base import MIB, ObjectStore, Part
from vfs.store.s3.bucket import Bucket
from vfs.types import ETag, Key

pytestmark = pytest.mark.stores("s3", "s3-restricted", "swift")

KEY = Key("up/größe")
SIZE = 5 * MIB


async def test_parts_become_the_object(store: ObjectStore) -> None:
    data = os.urandom(2 * SIZE + 7)
    upload = await store.create_upload(KEY, META)
    parts: dict[int, Part] = {}

    async def send(number: int) -> None:
        parts[number] = await store.upload_part(upload, number, [data[(number - 1) * SIZE : number * SIZE]])

    async with trio.open_nursery() as nursery:
        for number in (3, 1, 2):
            nursery.start_soon(send, number)
    assert list(await store.list_parts(upload)) == [parts[1], parts[2], parts[3]]
    stored = await store.complete_upload(upload, [parts[1], parts[2], parts[3]])
    assert (stored.size, stored.meta) == (len(data), META)
    assert await store.head(KEY) == stored
    assert (await store.get(KEY)).data == data
    assert (await store.get(KEY, SIZE - 1, 2, if_match=stored.etag)).data == data[SIZE - 1 : SIZE + 1]
    assert list(await store.list_uploads("")) == []


async def test_the_least_part_is_what_the_capabilities_say(store: ObjectStore) -> None:
    assert store.capabilities.min_part == SIZE


async def test_a_patch(store: ObjectStore) -> None:
    data = os.urandom(3 * SIZE)
    base = await put(store, KEY, data, META)
    upload = await store.create_upload(KEY, META)
    parts = [
        await store.copy_part(upload, 1, KEY, 0, SIZE, if_match=base.etag),
        await store.upload_part(upload, 2, [b"x" * SIZE]),
        await store.copy_part(upload, 3, KEY, 2 * SIZE, SIZE, if_match=base.etag),
    ]
    with pytest.raises(PreconditionFailed):
        await store.complete_upload(upload, parts, if_match=ETag("no"))
    with pytest.raises(PreconditionFailed):
        await store.complete_upload(upload, parts, if_absent=True)
    await store.complete_upload(upload, parts, if_match=base.etag)
    assert (await store.get(KEY)).data == data[:SIZE] + b"x" * SIZE + data[2 * SIZE :]


async def test_copied_parts_need_their_source(store: ObjectStore) -> None:
    base = await put(store, "base", b"0123456789")
    upload = await store.create_upload(KEY, META)
    with pytest.raises(ObjectNotFound):
        await store.copy_part(upload, 1, Key("absent"), 0, 1)
    with pytest.raises(PreconditionFailed):
        await store.copy_part(upload, 1, base.key, 0, 1, if_match=ETag("no"))
    assert list(await store.list_parts(upload)) == []


async def test_completion_checks_its_parts(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, META)
    one = await store.upload_part(upload, 1, [b"one"])
    for parts in ([], [one, one], [one, Part(3, one.etag, 3)], [Part(1, ETag("no"), 3)]):
        with pytest.raises(StoreError):
            await store.complete_upload(upload, parts)
    await store.complete_upload(upload, [one])


async def test_a_completion_that_does_not_tell_the_version(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ceph 16 answers with an empty ETag, and names the object; who names nothing has confirmed nothing."""
    told = {"ETag": "", "Key": str(KEY)}
    call = Bucket.call

    async def without(bucket: Bucket, name: str, **params: Any) -> Any:
        answer = await call(bucket, name, **params)
        return {**answer, "ETag": "", "Key": "", **told} if name == "complete_multipart_upload" else answer

    monkeypatch.setattr(Bucket, "call", without)
    for complete in (True, False):
        upload = await store.create_upload(KEY, META)
        part = await store.upload_part(upload, 1, [b"content"])
        if complete:
            stored = await store.complete_upload(upload, [part])
            assert stored == await store.head(KEY)
            told["Key"] = ""
        else:
            with pytest.raises(StoreUnavailable):
                await store.complete_upload(upload, [part])
