"""Preconditions: checked and applied in one step, also when tasks race."""

from __future__ import annotations

import pytest
import trio

from tests.contract.stores import AS_S3, BARE, META, keys, put, read
from vfs.errors import ObjectNotFound, PreconditionFailed
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.types import ETag, Key

KEY = Key("dir/counter")
WRONG = ETag("not-an-etag")


async def test_get_of_one_version(store: ObjectStore) -> None:
    first = await put(store, KEY, b"1")
    assert (await store.get(KEY, if_match=first.etag)).data == b"1"
    await put(store, KEY, b"2")
    with pytest.raises(PreconditionFailed):
        await store.get(KEY, if_match=first.etag)
    with pytest.raises(ObjectNotFound):
        await store.get(Key("absent"), if_match=first.etag)


@pytest.mark.stores(*AS_S3)
async def test_put_over_one_version(store: ObjectStore) -> None:
    first = await put(store, KEY, b"1")
    second = await store.put(KEY, [b"2"], META, if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        await store.put(KEY, [b"3"], BARE, if_match=first.etag)
    assert await store.head(KEY) == second
    assert await read(store, KEY) == b"2"


@pytest.mark.stores(*AS_S3)
async def test_put_over_what_is_absent(store: ObjectStore) -> None:
    for key in ("absent", "no/such/dir/absent", "marker/", "no/marker/"):
        with pytest.raises(PreconditionFailed):
            await store.put(Key(key), [], BARE, if_match=WRONG)
    assert await keys(store) == []
    assert (await store.list("", delimiter="/")).prefixes == []


async def test_put_if_absent(store: ObjectStore) -> None:
    for key in (KEY, Key("deep/down/marker/")):
        stored = await store.put(key, [], META, if_absent=True)
        with pytest.raises(PreconditionFailed):
            await store.put(key, [], BARE, if_absent=True)
        assert await store.head(key) == stored
        await store.delete(key)
        await store.put(key, [], BARE, if_absent=True)


@pytest.mark.stores(*AS_S3)
async def test_markers_have_versions(store: ObjectStore) -> None:
    first = await put(store, "dir/", b"", META)
    await put(store, "dir/x", b"changes the directory, not the marker")
    second = await store.put(Key("dir/"), [], BARE, if_match=first.etag)
    assert (await store.head(Key("dir/"))).meta == BARE
    assert (await store.get(Key("dir/"), if_match=second.etag)).data == b""
    with pytest.raises(PreconditionFailed):
        await store.get(Key("dir/"), if_match=WRONG)


@pytest.mark.stores(*AS_S3)
async def test_one_of_two_creators_wins(store: ObjectStore) -> None:
    for number in range(20):
        key = Key(f"race{number % 3}/{number}")
        won: list[bytes] = []

        async def create(data: bytes, key: Key = key, won: list[bytes] = won) -> None:
            try:
                await store.put(key, [data], BARE, if_absent=True)
            except PreconditionFailed:
                return
            won.append(data)

        async with trio.open_nursery() as nursery:
            for data in (b"one", b"two", b"three"):
                nursery.start_soon(create, data)
        assert len(won) == 1
        assert await read(store, key) == won[0]


@pytest.mark.stores(*AS_S3)
async def test_no_increment_is_lost(store: ObjectStore) -> None:
    """Read, add one, put if nobody did meanwhile: the count in the end is the number of those who succeeded."""
    await put(store, KEY, b"0")

    async def increment() -> None:
        for _ in range(5):
            while True:
                got = await store.get(KEY)
                try:
                    await store.put(KEY, [b"%d" % (int(bytes(got.data)) + 1)], BARE, if_match=got.info.etag)
                except PreconditionFailed:
                    continue
                break

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(increment)
    assert await read(store, KEY) == b"20"


async def test_writers_and_deleters_of_one_directory(store: ObjectStore) -> None:
    """Deletes prune the directories that puts are about to use: no put may fail or be lost for it."""

    async def churn(name: str) -> None:
        for number in range(15):
            key = Key(f"a/b{number % 2}/c/{name}")
            await put(store, key, name.encode())
            assert await read(store, key) == name.encode()
            await store.delete(key)

    async with trio.open_nursery() as nursery:
        for name in ("x", "y", "z"):
            nursery.start_soon(churn, name)
    assert await keys(store) == []
    assert (await store.list("", delimiter="/")).prefixes == []


async def test_markers_survive_deleters(store: ObjectStore) -> None:
    """A marker that is put while the last file beside it goes must stay."""
    for number in range(15):
        await put(store, f"d{number}/x", b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.delete, Key(f"d{number}/x"))
            nursery.start_soon(put, store, f"d{number}/", b"", META)
        assert (await store.head(Key(f"d{number}/"))).meta == META


async def test_readers_see_whole_versions(store: ObjectStore) -> None:
    """Content, size and metadata that come together belong together."""

    def version(number: int) -> tuple[bytes, ObjectMeta]:
        return b"%d" % number * (number * 97 % 5000), ObjectMeta({"n": str(number)})

    data, meta = version(1)
    await put(store, KEY, data, meta)
    done = trio.Event()

    async def write() -> None:
        for number in range(2, 40):
            data, meta = version(number)
            await put(store, KEY, data, meta)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while not done.is_set():
            got = await store.get(KEY)
            assert got.info.meta is not None
            assert (bytes(got.data), got.info.meta) == version(int(got.info.meta.metadata["n"]))
            assert got.info.size == len(got.data)
