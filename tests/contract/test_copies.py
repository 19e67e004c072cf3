"""copy: contents and metadata move inside the store."""

from __future__ import annotations

import pytest

from tests.contract.stores import BARE, META, keys, put, read
from vfs.errors import AttributesTooBig, ObjectNotFound, PreconditionFailed
from vfs.store.base import UNKNOWN_SIZE, ObjectMeta, ObjectStore
from vfs.store.copying import copy_object
from vfs.types import ETag, Key

SOURCE = Key("from/a")
TARGET = Key("to/some/b")


async def test_copy_keeps_the_metadata(store: ObjectStore) -> None:
    stored = await put(store, SOURCE, b"content" * 1000, META)
    copied = await copy_object(store, stored, TARGET)
    assert (copied.key, copied.size, copied.meta) == (TARGET, 7000, META)
    assert await store.head(TARGET) == copied
    assert await read(store, TARGET) == b"content" * 1000
    assert await store.head(SOURCE) == stored


async def test_copy_with_new_metadata(store: ObjectStore) -> None:
    await put(store, SOURCE, b"content", META)
    new = ObjectMeta({"x": "y"}, "image/png")
    assert (await store.copy(SOURCE, TARGET, new)).meta == new
    assert (await store.head(TARGET)).meta == new
    assert (await store.head(SOURCE)).meta == META


async def test_copy_replaces_the_target(store: ObjectStore) -> None:
    await put(store, SOURCE, b"new", META)
    old = await put(store, TARGET, b"old old", BARE)
    copied = await store.copy(SOURCE, TARGET)
    assert copied.etag != old.etag
    assert await read(store, TARGET) == b"new"
    assert await keys(store) == [SOURCE, TARGET]


async def test_copy_onto_itself_changes_metadata_only(store: ObjectStore) -> None:
    stored = await put(store, SOURCE, b"content", META)
    new = ObjectMeta({"mode": "33261"}, "text/x-python")
    changed = await copy_object(store, stored, SOURCE, new)
    assert (changed.etag, changed.size, changed.meta) == (stored.etag, stored.size, new)
    assert await store.head(SOURCE) == changed
    assert (await store.get(SOURCE, if_match=stored.etag)).data == b"content"


async def test_empty_objects_are_copied(store: ObjectStore) -> None:
    await put(store, SOURCE, b"", META)
    assert (await store.copy(SOURCE, TARGET)).size in (0, UNKNOWN_SIZE)
    assert ((await store.head(TARGET)).size, (await store.head(TARGET)).meta) == (0, META)


async def test_markers_are_copied(store: ObjectStore) -> None:
    stored = await put(store, "dir/", b"", META)
    await put(store, "dir/x", b"stays")
    assert (await copy_object(store, stored, Key("other/place/"))).meta == META
    new = ObjectMeta({"mode": "16832"})
    changed = await copy_object(store, stored, Key("dir/"), new)
    assert (changed.meta, changed.etag) == (new, stored.etag)
    assert await store.head(Key("dir/")) == changed
    assert await keys(store) == ["dir/", "dir/x", "other/place/"]


async def test_conditions_speak_of_the_source(store: ObjectStore) -> None:
    first = await put(store, SOURCE, b"1", META)
    second = await put(store, SOURCE, b"2", META)
    for target in (SOURCE, TARGET):
        with pytest.raises(PreconditionFailed):
            await store.copy(SOURCE, target, BARE, if_match=first.etag)
    assert await store.head(SOURCE) == second
    assert await keys(store) == [SOURCE]
    await put(store, TARGET, b"old")
    await store.copy(SOURCE, TARGET, if_match=second.etag)
    assert await read(store, TARGET) == b"2"
    marker = await put(store, "dir/", b"", META)
    for key in ("dir/", "other/"):
        with pytest.raises(PreconditionFailed):
            await store.copy(Key("dir/"), Key(key), BARE, if_match=ETag("no"))
    assert await store.head(Key("dir/")) == marker


async def test_absent_sources(store: ObjectStore) -> None:
    await put(store, "dir/x", b"x")
    for source in ("absent", "absent/", "dir", "dir/", "dir/x/y"):
        target = "target/" if source.endswith("/") else "target"
        with pytest.raises(ObjectNotFound):
            await store.copy(Key(source), Key(target))
        with pytest.raises(ObjectNotFound):
            await store.copy(Key(source), Key(source), META)
    assert await keys(store) == ["dir/x"]


async def test_metadata_has_its_limit_here_too(store: ObjectStore) -> None:
    stored = await put(store, SOURCE, b"x", META)
    large = ObjectMeta({"xattr": "v" * store.capabilities.max_metadata})
    for target in (SOURCE, TARGET):
        with pytest.raises(AttributesTooBig):
            await store.copy(SOURCE, target, large)
    assert await store.head(SOURCE) == stored
    assert await keys(store) == [SOURCE]
