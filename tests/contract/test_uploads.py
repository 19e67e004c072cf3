"""Multipart uploads: nothing is visible until all is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from tests.contract.stores import AS_S3, BARE, MAKERS, META, keys, put, read
from vfs.errors import AttributesTooBig, ObjectNotFound, PreconditionFailed, StoreError, UploadNotFound
from vfs.store.base import ObjectMeta, ObjectStore, Part, Upload, UploadId
from vfs.types import ETag, Key

KEY = Key("up/load/file")


@pytest.mark.stores(*AS_S3)
async def test_parts_become_the_object(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, META)
    parts = [await store.upload_part(upload, number, [b"%d" % number * 1000, b"|"]) for number in (1, 2, 3)]
    assert [part.size for part in parts] == [1001] * 3
    with pytest.raises(ObjectNotFound):
        await store.head(KEY)
    assert await keys(store) == []
    stored = await store.complete_upload(upload, parts)
    assert (stored.key, stored.size, stored.meta) == (KEY, 3003, META)
    assert await store.head(KEY) == stored
    assert await read(store, KEY) == b"1" * 1000 + b"|" + b"2" * 1000 + b"|" + b"3" * 1000 + b"|"
    assert list(await store.list_uploads("")) == []


@pytest.mark.stores(*AS_S3)
async def test_parts_come_in_any_order_with_gaps_and_at_once(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, BARE)
    parts: dict[int, Part] = {}

    async def send(number: int) -> None:
        parts[number] = await store.upload_part(upload, number, [b"<%d>" % number])

    async with trio.open_nursery() as nursery:
        for number in (10_000, 7, 300, 2):
            nursery.start_soon(send, number)
    assert list(await store.list_parts(upload)) == [parts[number] for number in sorted(parts)]
    await store.complete_upload(upload, [parts[number] for number in sorted(parts)])
    assert await read(store, KEY) == b"<2><7><300><10000>"


async def test_a_part_can_be_replaced_and_left_out(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, BARE)
    first = await store.upload_part(upload, 1, [b"old"])
    second = await store.upload_part(upload, 1, [b"new and longer"])
    unused = await store.upload_part(upload, 2, [b"unused"])
    assert list(await store.list_parts(upload)) == [second, unused]
    with pytest.raises(StoreError):
        await store.complete_upload(upload, [first])
    await store.complete_upload(upload, [second])
    assert await read(store, KEY) == b"new and longer"


async def test_a_single_empty_part(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, META)
    stored = await store.complete_upload(upload, [await store.upload_part(upload, 1, [])])
    assert (stored.size, await read(store, KEY)) == (0, b"")


@pytest.mark.stores(*AS_S3)
async def test_parts_copied_from_objects(store: ObjectStore) -> None:
    base = await put(store, "base", bytes(range(256)) * 1000)
    upload = await store.create_upload(KEY, BARE)
    parts = [
        await store.copy_part(upload, 1, base.key, 0, 100_001, if_match=base.etag),
        await store.upload_part(upload, 2, [b"in between"]),
        await store.copy_part(upload, 3, base.key, 255_999, 1),
    ]
    assert [part.size for part in parts] == [100_001, 10, 1]
    await store.complete_upload(upload, parts)
    assert await read(store, KEY) == (bytes(range(256)) * 1000)[:100_001] + b"in between" + b"\xff"


@pytest.mark.stores(*AS_S3)
async def test_an_object_can_be_patched_with_itself(store: ObjectStore) -> None:
    base = await put(store, KEY, b"0123456789" * 10, META)
    upload = await store.create_upload(KEY, META)
    parts = [
        await store.copy_part(upload, 1, KEY, 0, 50, if_match=base.etag),
        await store.upload_part(upload, 2, [b"XX"]),
        await store.copy_part(upload, 3, KEY, 52, 48, if_match=base.etag),
    ]
    await store.complete_upload(upload, parts, if_match=base.etag)
    assert await read(store, KEY) == b"0123456789" * 5 + b"XX23456789" + b"0123456789" * 4


@pytest.mark.stores(*AS_S3)
async def test_copied_parts_need_their_source(store: ObjectStore) -> None:
    base = await put(store, "base", b"0123456789")
    upload = await store.create_upload(KEY, BARE)
    with pytest.raises(ObjectNotFound):
        await store.copy_part(upload, 1, Key("absent"), 0, 1)
    with pytest.raises(PreconditionFailed):
        await store.copy_part(upload, 1, base.key, 0, 1, if_match=ETag("no"))
    with pytest.raises(StoreError):
        await store.copy_part(upload, 1, base.key, 5, 6)
    assert list(await store.list_parts(upload)) == []


@pytest.mark.stores(*AS_S3)
async def test_completion_checks_its_parts(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, BARE)
    one = await store.upload_part(upload, 1, [b"one"])
    two = await store.upload_part(upload, 2, [b"two"])
    wrong: list[list[Part]] = [
        [],
        [two, one],
        [one, one],
        [one, Part(3, one.etag, 3)],
        [replace(one, etag=ETag("no"))],
        [replace(one, number=2)],
    ]
    for parts in wrong:
        with pytest.raises(StoreError):
            await store.complete_upload(upload, parts)
    assert await keys(store) == []
    await store.complete_upload(upload, [one, two])
    assert await read(store, KEY) == b"onetwo"


@pytest.mark.stores(*MAKERS)
async def test_completion_checks_the_sizes_of_its_parts(store: ObjectStore) -> None:
    """S3 stores are not told them."""
    upload = await store.create_upload(KEY, BARE)
    one = await store.upload_part(upload, 1, [b"one"])
    with pytest.raises(StoreError):
        await store.complete_upload(upload, [replace(one, size=2)])
    assert await keys(store) == []


async def test_part_numbers_have_bounds(store: ObjectStore) -> None:
    base = await put(store, "base", b"x")
    upload = await store.create_upload(KEY, BARE)
    for number in (0, -1, store.capabilities.max_parts + 1):
        with pytest.raises(StoreError):
            await store.upload_part(upload, number, [b"x"])
        with pytest.raises(StoreError):
            await store.copy_part(upload, number, base.key, 0, 1)
    assert list(await store.list_parts(upload)) == []


@pytest.mark.stores(*AS_S3)
async def test_a_completion_can_fail_and_be_repeated(store: ObjectStore) -> None:
    current = await put(store, KEY, b"there already")
    upload = await store.create_upload(KEY, META)
    parts = [await store.upload_part(upload, number, [b"%d" % number]) for number in (1, 2)]
    with pytest.raises(PreconditionFailed):
        await store.complete_upload(upload, parts, if_absent=True)
    with pytest.raises(PreconditionFailed):
        await store.complete_upload(upload, parts, if_match=ETag("no"))
    assert await store.head(KEY) == current
    assert list(await store.list_parts(upload)) == parts
    stored = await store.complete_upload(upload, parts, if_match=current.etag)
    assert await read(store, KEY) == b"12"
    assert stored.meta == META


async def test_if_absent(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, META)
    part = await store.upload_part(upload, 1, [b"x"])
    await store.complete_upload(upload, [part], if_absent=True)
    assert await keys(store) == [KEY]


async def test_abort(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, META)
    part = await store.upload_part(upload, 1, [b"x"])
    await store.abort_upload(upload)
    await store.abort_upload(upload)
    with pytest.raises(UploadNotFound):
        await store.upload_part(upload, 2, [b"x"])
    with pytest.raises(UploadNotFound):
        await store.list_parts(upload)
    with pytest.raises(UploadNotFound):
        await store.complete_upload(upload, [part])
    assert list(await store.list_uploads("")) == []
    assert await keys(store) == []


@pytest.mark.stores(*AS_S3)
async def test_a_completed_upload_is_over(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, META)
    part = await store.upload_part(upload, 1, [b"x"])
    stored = await store.complete_upload(upload, [part])
    for over in (upload, Upload(KEY, UploadId("never-begun")), Upload(KEY, UploadId("../../etc"))):
        with pytest.raises(UploadNotFound):
            await store.upload_part(over, 2, [b"x"])
        try:
            assert await store.complete_upload(over, [part]) == replace(stored, meta=None)
            assert over == upload
        except UploadNotFound:
            pass
        await store.abort_upload(over)
    assert await store.head(KEY) == stored


async def test_uploads_are_found_by_prefix(store: ObjectStore) -> None:
    begun = [await store.create_upload(Key(key), META) for key in ("a/1", "a/1", "a/2", "b/1")]
    assert {upload.id for upload in await store.list_uploads("a/")} == {upload.id for upload in begun[:3]}
    assert [upload.key for upload in await store.list_uploads("")] == ["a/1", "a/1", "a/2", "b/1"]
    assert list(await store.list_uploads("c")) == []
    assert all(upload.begun_ns > 0 for upload in await store.list_uploads(""))
    (found,) = await store.list_uploads("b/")
    await store.complete_upload(found, [await store.upload_part(found, 1, [b"found again"])])
    assert await read(store, "b/1") == b"found again"
    assert len(await store.list_uploads("")) == 3


async def test_metadata_at_the_end(store: ObjectStore) -> None:
    upload = await store.create_upload(KEY, BARE)
    part = await store.upload_part(upload, 1, [b"x"])
    if store.capabilities.late_meta:
        assert (await store.complete_upload(upload, [part], META)).meta == META
        assert (await store.head(KEY)).meta == META
    else:
        with pytest.raises(StoreError):
            await store.complete_upload(upload, [part], META)
        assert (await store.complete_upload(upload, [part])).meta == BARE


async def test_metadata_is_checked_at_the_beginning(store: ObjectStore) -> None:
    with pytest.raises(AttributesTooBig):
        await store.create_upload(KEY, ObjectMeta({"x": "v" * 2048}))
    assert list(await store.list_uploads("")) == []
