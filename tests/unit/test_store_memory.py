"""What MemoryStore refuses, as S3 does: a test that passes on it must not depend on more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes import S3_LIKE, MemoryStore
from vfs.errors import StoreError
from vfs.store.base import Capabilities, ObjectMeta
from vfs.types import ETag, Key

KEY = Key("k")
META = ObjectMeta({"n": "1"})


async def test_small_parts_are_refused_but_the_last() -> None:
    store = MemoryStore(Capabilities())
    upload = await store.create_upload(KEY, META)
    parts = [await store.upload_part(upload, number, [b"small"]) for number in (1, 2)]
    with pytest.raises(StoreError):
        await store.complete_upload(upload, parts)
    parts[0] = await store.upload_part(upload, 1, [bytes(store.capabilities.min_part)])
    assert (await store.complete_upload(upload, parts)).size == store.capabilities.min_part + 5


async def test_equal_contents_have_equal_etags() -> None:
    """So an etag alone does not say that nobody wrote."""
    store = MemoryStore()
    etags = [(await store.put(KEY, [data], META)).etag for data in (b"a", b"b", b"a")]
    assert etags[0] == etags[2] != etags[1]


async def test_limits_of_size() -> None:
    store = MemoryStore(replace(S3_LIKE, max_put=4, max_copy=2))
    await store.put(KEY, [b"1234"], META)
    with pytest.raises(StoreError):
        await store.put(KEY, [b"12345"], META)
    with pytest.raises(StoreError):
        await store.copy(KEY, Key("other"))
    upload = await store.create_upload(Key("other"), META)
    with pytest.raises(StoreError):
        await store.copy_part(upload, 1, KEY, 0, 3)
    await store.copy_part(upload, 1, KEY, 0, 2)


async def test_stores_that_can_do_less() -> None:
    store = MemoryStore(replace(S3_LIKE, conditional_put=False, copy_part=False))
    await store.put(KEY, [b"1234"], META)
    with pytest.raises(StoreError):
        await store.put(KEY, [b"x"], META, if_absent=True)
    with pytest.raises(StoreError):
        await store.put(KEY, [b"x"], META, if_match=ETag("x"))
    upload = await store.create_upload(Key("other"), META)
    with pytest.raises(StoreError):
        await store.copy_part(upload, 1, KEY, 0, 3)


async def test_copies_that_change_nothing_and_long_deletes() -> None:
    store = MemoryStore()
    await store.put(KEY, [b"1234"], META)
    with pytest.raises(StoreError):
        await store.copy(KEY, KEY)
    with pytest.raises(StoreError):
        await store.delete_many([KEY] * 1001)
    assert store.stored() == [KEY]
