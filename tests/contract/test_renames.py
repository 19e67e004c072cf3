"""rename and exchange, on the stores that have them."""

from __future__ import annotations

import pytest

from tests.contract.stores import BARE, EXCHANGING, META, RENAMING, keys, put, read
from vfs.errors import KeyRefused, ObjectNotFound, StoreError
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.types import Key

OTHER = ObjectMeta({"mode": "33261"}, "image/png")

renaming = pytest.mark.stores(*RENAMING)
exchanging = pytest.mark.stores(*EXCHANGING)


@renaming
async def test_a_file_keeps_its_version(store: ObjectStore) -> None:
    stored = await put(store, "from/a", b"content", META)
    await store.rename(Key("from/a"), Key("to/some/b"))
    moved = await store.head(Key("to/some/b"))
    assert (moved.etag, moved.size, moved.meta) == (stored.etag, stored.size, META)
    assert await read(store, "to/some/b") == b"content"
    assert await keys(store) == ["to/some/b"]
    assert (await store.list("", delimiter="/")).prefixes == ["to/"]


@renaming
async def test_a_file_replaces_a_file(store: ObjectStore) -> None:
    await put(store, "a", b"new", META)
    await put(store, "b", b"old", OTHER)
    await store.rename(Key("a"), Key("b"))
    assert (await read(store, "b"), (await store.head(Key("b"))).meta) == (b"new", META)
    assert await keys(store) == ["b"]
    await put(store, "a", b"a again", BARE)
    assert (await store.head(Key("a"))).meta == BARE


@renaming
async def test_a_directory_moves_with_all_below_it(store: ObjectStore) -> None:
    await put(store, "old/", b"", META)
    await put(store, "old/x", b"x", META)
    await put(store, "old/sub/", b"", OTHER)
    await put(store, "old/sub/deep/y", b"y", OTHER)
    await put(store, "older", b"stays", BARE)
    await store.rename(Key("old/"), Key("new/place/"))
    assert await keys(store) == [
        "new/place/",
        "new/place/sub/",
        "new/place/sub/deep/y",
        "new/place/x",
        "older",
    ]
    for key, meta in (("new/place/", META), ("new/place/x", META), ("new/place/sub/deep/y", OTHER)):
        assert (await store.head(Key(key))).meta == meta
    await put(store, "old/x", b"fresh", BARE)
    assert (await store.head(Key("old/x"))).meta == BARE
    with pytest.raises(ObjectNotFound):
        await store.head(Key("old/"))


@renaming
async def test_a_directory_that_is_only_a_prefix(store: ObjectStore) -> None:
    await put(store, "old/x", b"x", META)
    await store.rename(Key("old/"), Key("new/"))
    assert await keys(store) == ["new/x"]
    assert (await store.head(Key("new/x"))).meta == META


@renaming
async def test_a_directory_replaces_an_empty_one(store: ObjectStore) -> None:
    await put(store, "old/", b"", META)
    await put(store, "old/x", b"x", META)
    await put(store, "empty/", b"", OTHER)
    await put(store, "full/y", b"y", OTHER)
    await store.rename(Key("old/"), Key("empty/"))
    assert await keys(store) == ["empty/", "empty/x", "full/y"]
    assert (await store.head(Key("empty/"))).meta == META
    with pytest.raises(KeyRefused):
        await store.rename(Key("empty/"), Key("full/"))
    assert await keys(store) == ["empty/", "empty/x", "full/y"]
    assert (await store.head(Key("empty/x"))).meta == META


@renaming
async def test_renames_that_cannot_be(store: ObjectStore) -> None:
    await put(store, "file", b"x")
    await put(store, "dir/x", b"x")
    for source, target in (("dir/", "dir/sub/"), ("file", "file2/"), ("dir/", "dir2")):
        with pytest.raises(KeyRefused):
            await store.rename(Key(source), Key(target))
    for source, target in (("absent", "b"), ("absent/", "b/"), ("no/way/x", "b"), ("file/x", "b")):
        with pytest.raises(ObjectNotFound):
            await store.rename(Key(source), Key(target))
    assert await keys(store) == ["dir/x", "file"]
    assert (await store.list("", delimiter="/")).prefixes == ["dir/"]


@renaming
async def test_onto_itself(store: ObjectStore) -> None:
    stored = await put(store, "a", b"x", META)
    await put(store, "d/x", b"x", META)
    await store.rename(Key("a"), Key("a"))
    await store.rename(Key("d/"), Key("d/"))
    assert await store.head(Key("a")) == stored
    assert await keys(store) == ["a", "d/x"]
    with pytest.raises(ObjectNotFound):
        await store.rename(Key("absent"), Key("absent"))


@exchanging
async def test_files_change_places(store: ObjectStore) -> None:
    one = await put(store, "a/one", b"1", META)
    two = await put(store, "b/two", b"22", OTHER)
    await store.exchange(Key("a/one"), Key("b/two"))
    assert (await read(store, "a/one"), await read(store, "b/two")) == (b"22", b"1")
    assert (await store.head(Key("a/one"))).etag == two.etag
    assert (await store.head(Key("b/two"))).meta == one.meta


@exchanging
async def test_directories_change_places(store: ObjectStore) -> None:
    await put(store, "a/", b"", META)
    await put(store, "a/x", b"x", META)
    await put(store, "b/y/z", b"z", OTHER)
    await store.exchange(Key("a/"), Key("b/"))
    assert await keys(store) == ["a/y/z", "b/", "b/x"]
    assert (await store.head(Key("b/"))).meta == META
    assert (await store.head(Key("a/y/z"))).meta == OTHER


@exchanging
async def test_a_file_and_a_directory_change_places(store: ObjectStore) -> None:
    await put(store, "f", b"file", META)
    await put(store, "d/", b"", OTHER)
    await put(store, "d/x", b"x", OTHER)
    await store.exchange(Key("f"), Key("d/"))
    assert await keys(store) == ["d", "f/", "f/x"]
    assert await read(store, "d") == b"file"
    assert (await store.head(Key("f/"))).meta == OTHER


@exchanging
async def test_both_must_exist(store: ObjectStore) -> None:
    await put(store, "a", b"x")
    for one, other in (("a", "b"), ("b", "a"), ("a", "no/b"), ("a/", "a"), ("a", "b/")):
        with pytest.raises(ObjectNotFound):
            await store.exchange(Key(one), Key(other))
    assert await keys(store) == ["a"]


async def test_stores_without_say_so(store: ObjectStore) -> None:
    await put(store, "a", b"a")
    await put(store, "b", b"b")
    if not store.capabilities.rename:
        with pytest.raises(StoreError):
            await store.rename(Key("a"), Key("c"))
    if not store.capabilities.exchange:
        with pytest.raises(StoreError):
            await store.exchange(Key("a"), Key("b"))
    assert (await read(store, "a"), await read(store, "b")) == (b"a", b"b")
