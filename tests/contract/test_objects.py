"""head, get, put, delete: what every store does with whole objects and ranges."""

from __future__ import annotations

import time

import pytest

from tests.contract.stores import BARE, META, keys, put, read
from vfs.errors import AttributesTooBig, KeyRefused, ObjectNotFound, StoreError
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.types import Key

KEY = Key("users/u1/workspace/a.txt")

ODD_KEYS = [
    "a",
    "a b/c",
    "line\nbreak/new\nline.txt",
    "ünï/cödé/日本語.txt",
    "e\u0301 is not \u00e9",
    "emoji/\U0001f600",
    "quo'te/dou\"ble/back\\slash",
    "percent/%41%2e%2e",
    "...",
    "a/.../b",
    "-rf/*",
    "x/.agentfs-store/y",
    "tab\there",
    "n" * 255,
    "/".join(["d" * 200] * 5),
    ".hidden/.too",
    "trailing./dot.",
    "sp ace /at end ",
]


async def test_what_was_put_is_there(store: ObjectStore) -> None:
    stored = await put(store, KEY, b"hello", META)
    assert stored.key == KEY
    assert stored.size == 5
    assert stored.etag
    assert stored.meta == META
    assert await store.head(KEY) == stored
    assert await store.get(KEY) == type(await store.get(KEY))(stored, b"hello")


async def test_modified_is_now(store: ObjectStore) -> None:
    before = time.time_ns()
    stored = await put(store, KEY, b"hello")
    assert before - 10**9 <= stored.modified_ns <= time.time_ns() + 10**9


async def test_absent_objects(store: ObjectStore) -> None:
    for key in (KEY, Key("nowhere/"), Key("nowhere/deep/x")):
        with pytest.raises(ObjectNotFound):
            await store.head(key)
        with pytest.raises(ObjectNotFound):
            await store.get(key)
        await store.delete(key)


async def test_below_a_file_there_is_nothing(store: ObjectStore) -> None:
    await put(store, "file", b"x")
    for key in (Key("file/x"), Key("file/")):
        with pytest.raises(ObjectNotFound):
            await store.head(key)
        with pytest.raises(ObjectNotFound):
            await store.get(key)
        await store.delete(key)
    assert await read(store, "file") == b"x"


async def test_a_prefix_is_no_object(store: ObjectStore) -> None:
    await put(store, "dir/x", b"x")
    for key in (Key("dir"), Key("dir/")):
        with pytest.raises(ObjectNotFound):
            await store.head(key)
        with pytest.raises(ObjectNotFound):
            await store.get(key)
        await store.delete(key)
    assert await keys(store) == ["dir/x"]


async def test_put_replaces_content_and_metadata(store: ObjectStore) -> None:
    first = await put(store, KEY, b"one", META)
    second = await put(store, KEY, b"three", ObjectMeta({"x": "1"}, "image/png"))
    assert first.etag != second.etag
    assert await store.head(KEY) == second
    assert second.meta == ObjectMeta({"x": "1"}, "image/png")
    assert await read(store, KEY) == b"three"
    assert await keys(store) == [KEY]


async def test_versions_of_equal_size_differ(store: ObjectStore) -> None:
    etags = [(await put(store, KEY, b"%04d" % number)).etag for number in range(100)]
    assert len(set(etags)) == 100


async def test_bodies_of_many_buffers(store: ObjectStore) -> None:
    pieces: list[bytes | bytearray | memoryview] = [b"", bytearray(b"ab"), memoryview(b"xcdx")[1:3], b""]
    await store.put(KEY, pieces, BARE)
    assert await read(store, KEY) == b"abcd"
    await store.put(KEY, [bytes([number % 251]) for number in range(5000)], BARE)
    assert await read(store, KEY) == bytes(number % 251 for number in range(5000))


async def test_empty_objects(store: ObjectStore) -> None:
    for body in ([], [b""]):
        stored = await store.put(KEY, body, META)
        assert (stored.size, await read(store, KEY)) == (0, b"")
    assert (await store.get(KEY, 0, 10)).data == b""
    assert (await store.head(KEY)).meta == META


async def test_megabytes(store: ObjectStore) -> None:
    piece = bytes(range(256)) * 4096
    await store.put(KEY, [piece] * 3, BARE)
    got = await store.get(KEY)
    assert bytes(got.data) == piece * 3
    assert (await store.get(KEY, len(piece) - 1, 2)).data == piece[-1:] + piece[:1]


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 10),
        (0, 1),
        (9, 1),
        (3, 4),
        (0, 0),
        (5, 0),
        (9, 5),
        (10, 1),
        (11, 1),
        (1000, 1000),
        (0, 1000),
        (10, 0),
    ],
)
async def test_ranges(store: ObjectStore, start: int, length: int) -> None:
    stored = await put(store, KEY, b"0123456789", META)
    got = await store.get(KEY, start, length)
    assert bytes(got.data) == b"0123456789"[start : start + length]
    assert got.info == stored


@pytest.mark.parametrize("start", [0, 4, 9, 10, 99])
async def test_open_ranges(store: ObjectStore, start: int) -> None:
    await put(store, KEY, b"0123456789")
    assert bytes((await store.get(KEY, start)).data) == b"0123456789"[start:]


async def test_directory_markers(store: ObjectStore) -> None:
    stored = await put(store, "dir/sub/", b"", META)
    assert (stored.key, stored.size, stored.meta) == ("dir/sub/", 0, META)
    assert await store.head(Key("dir/sub/")) == stored
    assert (await store.get(Key("dir/sub/"))).data == b""
    await put(store, "dir/sub/x", b"x")
    assert await store.head(Key("dir/sub/")) == stored
    await store.delete(Key("dir/sub/x"))
    assert await store.head(Key("dir/sub/")) == stored
    await store.delete(Key("dir/sub/"))
    assert await keys(store) == []


async def test_a_marker_goes_without_what_lies_under_it(store: ObjectStore) -> None:
    await put(store, "dir/", b"", META)
    await put(store, "dir/x", b"x", META)
    await store.delete(Key("dir/"))
    with pytest.raises(ObjectNotFound):
        await store.head(Key("dir/"))
    assert await keys(store) == ["dir/x"]
    again = await put(store, "dir/", b"", BARE)
    assert await store.head(Key("dir/")) == again


async def test_the_last_key_takes_its_prefix_with_it(store: ObjectStore) -> None:
    await put(store, "kept/", b"")
    await put(store, "kept/a/b/c", b"x")
    await put(store, "gone/a/b/c", b"x")
    await store.delete(Key("kept/a/b/c"))
    await store.delete(Key("gone/a/b/c"))
    assert (await store.list("", delimiter="/")).prefixes == ["kept/"]
    assert (await store.list("kept/", delimiter="/")).prefixes == []
    await put(store, "gone", b"a file now")
    await put(store, "kept/a", b"a file now")
    assert await keys(store) == ["gone", "kept/", "kept/a"]


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_keys(store: ObjectStore, key: str) -> None:
    await put(store, key, key.encode(), META)
    assert await read(store, key) == key.encode()
    assert (await store.head(Key(key))).meta == META
    assert await keys(store) == [key]
    assert await keys(store, key[:1]) == [key]
    await store.delete(Key(key))
    assert await keys(store) == []


async def test_keys_have_a_longest(store: ObjectStore) -> None:
    longest = ("k" * 127 + "/") * 8
    longest = longest[: store.capabilities.max_key - 1] + "k"
    await put(store, longest, b"x")
    with pytest.raises(KeyRefused):
        await put(store, longest + "k", b"x")
    with pytest.raises(KeyRefused):
        await put(store, "", b"x")


async def test_metadata_comes_back_as_it_was(store: ObjectStore) -> None:
    printable = "".join(chr(code) for code in range(33, 127)) + " |"
    meta = ObjectMeta({"xattr": printable, "empty": "", "a-b_c.d": "1"}, "application/json; charset=utf-8")
    await put(store, KEY, b"x", meta)
    assert (await store.head(KEY)).meta == meta
    assert (await store.get(KEY)).info.meta == meta


async def test_metadata_has_a_limit(store: ObjectStore) -> None:
    largest = ObjectMeta({"xattr": "v" * (store.capabilities.max_metadata - 5)})
    await put(store, KEY, b"x", largest)
    assert (await store.head(KEY)).meta == largest
    await put(store, "dir/", b"", largest)
    assert (await store.head(Key("dir/"))).meta == largest
    larger = ObjectMeta({"xattr": "v" * (store.capabilities.max_metadata - 4)})
    for key in (KEY, "new", "dir/", "new/"):
        with pytest.raises(AttributesTooBig):
            await put(store, key, b"", larger)
    assert (await store.head(KEY)).meta == largest
    assert await keys(store) == ["dir/", KEY]


@pytest.mark.parametrize("entry", [("Upper", "x"), ("name", "é"), ("name", "new\nline"), ("name", "\x7f")])
async def test_metadata_that_no_header_can_carry(store: ObjectStore, entry: tuple[str, str]) -> None:
    with pytest.raises(StoreError):
        await put(store, KEY, b"x", ObjectMeta(dict([entry])))
    assert await keys(store) == []


async def test_the_caller_may_change_its_metadata_afterwards(store: ObjectStore) -> None:
    entries = {"a": "1"}
    await put(store, KEY, b"x", ObjectMeta(entries))
    entries["a"] = "2"
    assert (await store.head(KEY)).meta == ObjectMeta({"a": "1"})


async def test_delete_many(store: ObjectStore) -> None:
    names = [f"d{number % 7}/k{number}" for number in range(50)]
    for name in names:
        await put(store, name, b"x")
    assert await store.delete_many([Key(name) for name in (*names[:40], "absent", "d0/absent/")]) == {}
    assert await keys(store) == sorted(names[40:])
    assert await store.delete_many([]) == {}


async def test_presign_gives_a_url(store: ObjectStore) -> None:
    await put(store, "a b/ü", b"x")
    assert "://" in await store.presign(Key("a b/ü"), 60)
    with pytest.raises(ObjectNotFound):
        await store.presign(Key("absent"), 60)


async def test_usage_is_none_or_sensible(store: ObjectStore) -> None:
    usage = await store.usage()
    assert usage is None or 0 < usage.free <= usage.total
