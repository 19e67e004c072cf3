"""RENAME_EXCHANGE over a store that has none: three moves, which are undone when one of them fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import Disk, key, mounted
from vfs.core.filesystem.rename import EXCHANGE
from vfs.core.garbage import Garbage
from vfs.errors import StoreError, StoreUnavailable
from vfs.layout import Layout
from vfs.store.base import ObjectInfo, ObjectMeta
from vfs.store.layers import Call, Layer, T, Thunk
from vfs.types import ETag, Key

ONE, OTHER = "workspace/one", "workspace/other"
CHANGES = ("copy", "delete", "delete_many", "rename")
KINDS = ["files", "directories", "file and directory", "directory and file"]


class OpaqueStore(MemoryStore):
    """Etags that are no hashes: a copy has another one than what it is a copy of."""

    def _store(self, key: Key, data: bytes, etag: ETag, meta: ObjectMeta) -> ObjectInfo:
        return super()._store(key, data, ETag(f"version-{next(self._serial)}"), meta)


class Failing(Layer):
    """The n-th change fails, before it is made or after, and so does everything in the next seconds."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.at = self.seen = 0
        self.applied = False
        self.seconds = self.until = 0.0
        self.struck: Callable[[], object] = lambda: None

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        if trio.current_time() < self.until:
            raise StoreUnavailable("still away")
        self.seen += self.at > 0 and call.name in CHANGES
        if self.seen and self.seen == self.at:
            self.at = self.seen = 0
            if self.applied:
                await thunk()
            self.until = trio.current_time() + self.seconds
            self.struck()
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("no answer")
        return await thunk()


async def fill(disk: Disk, kinds: str) -> None:
    for path, kind in zip((ONE, OTHER), (kinds.split(" and ") * 2)[:2], strict=True):
        if kind.startswith("file"):
            await disk.save(path, path.encode())
        else:
            await disk.mkdir(path)
            for name in ("a", "b"):
                await disk.save(f"{path}/{name}", f"{path} {name}".encode())


def contents(store: MemoryStore) -> dict[str, bytes]:
    return {name: found.data for name, found in store._objects.items()}


async def fails(disk: Disk) -> bool:
    try:
        await disk.rename(ONE, OTHER, EXCHANGE)
    except StoreError:
        return True
    return False


@pytest.mark.parametrize("applied", [False, True], ids=["not made", "made"])
@pytest.mark.parametrize("memory", [MemoryStore, OpaqueStore])
@pytest.mark.parametrize("kinds", KINDS)
async def test_an_exchange_that_fails_leaves_both_as_they_were(
    kinds: str, memory: type[MemoryStore], applied: bool, autojump_clock: MockClock
) -> None:
    """Wherever it fails: before its last copy it is undone, after that it has happened."""
    for at in range(1, 30):
        inner = memory(S3_LIKE)
        store = Failing(inner)
        async with mounted(store) as disk:
            await fill(disk, kinds)
            before, tree = contents(inner), await disk.tree()
            store.at, store.applied = at, applied
            failed = await fails(disk)
            if store.at:
                break  # there are no more calls
            if failed:
                assert contents(inner) == before, f"change {at}"
                assert await disk.tree() == tree
                assert not await fails(disk)
            left = [name for name in inner.stored() if ".agentfs" in name]
            assert not left or not (failed or applied)
            assert await disk.tree() != tree or kinds in KINDS[:2]
            if kinds == "files":
                assert await disk.load(ONE) == OTHER.encode()
                assert await disk.load(OTHER) == ONE.encode()
    assert at > 6


@pytest.mark.parametrize("kinds", KINDS)
async def test_an_exchange_that_is_cancelled_leaves_both_as_they_were(
    kinds: str, autojump_clock: MockClock
) -> None:
    for at in range(1, 30):
        inner = MemoryStore(S3_LIKE)
        store = Failing(inner)
        async with mounted(store) as disk:
            await fill(disk, kinds)
            before = contents(inner)
            store.at = at
            with trio.CancelScope() as scope:
                store.struck = scope.cancel
                await disk.rename(ONE, OTHER, EXCHANGE)
            if store.at:
                break
            if contents(inner) != before:  # the last of its changes: it has happened
                assert await disk.find(ONE) is not None
                assert await disk.find(OTHER) is not None
                assert kinds != "files" or inner._objects[key(ONE)].data == OTHER.encode()
    assert at > 6


@pytest.mark.parametrize("applied", [False, True], ids=["not made", "made"])
@pytest.mark.parametrize("kinds", KINDS)
async def test_a_store_that_can_rename_and_not_exchange(
    kinds: str, applied: bool, autojump_clock: MockClock
) -> None:
    for at in range(1, 4):
        inner = MemoryStore(replace(S3_LIKE, rename=True))
        store = Failing(inner)
        async with mounted(store) as disk:
            await fill(disk, kinds)
            before = contents(inner)
            store.at, store.applied = at, applied
            assert await fails(disk)
            assert contents(inner) == before
            assert not await fails(disk)
            assert len(inner.stored()) == len(before)


async def test_who_has_it_open_reads_on(autojump_clock: MockClock) -> None:
    inner = OpaqueStore(S3_LIKE)
    store = Failing(inner)
    async with mounted(store) as disk:
        await fill(disk, "directories")
        fh = await disk.open(f"{ONE}/a")
        store.at = 9
        assert await fails(disk)
        assert await disk.read(fh) == f"{ONE} a".encode()
        await disk.write(fh, 0, b"new")
        await disk.close(fh)
        assert inner._objects[key(f"{ONE}/a")].data == f"new{ONE[3:]} a".encode()
        assert sorted(await disk.listdir(ONE)) == ["a", "b"]


@pytest.mark.parametrize("seconds", [100.0, 1000.0], ids=["back in time", "back too late"])
async def test_a_store_that_is_away_for_a_while(seconds: float, autojump_clock: MockClock) -> None:
    """Only what cannot be undone in minutes is left to a collection."""
    inner = MemoryStore(S3_LIKE)
    store = Failing(inner)
    async with mounted(store) as disk:
        await fill(disk, "files")
        before = contents(inner)
        store.at, store.seconds = 5, seconds
        begun = trio.current_time()
        assert await fails(disk)
        assert trio.current_time() - begun < 310
        await trio.sleep(seconds)
        assert (contents(inner) == before) == (seconds < 300)
        assert set(contents(inner).values()) >= {ONE.encode(), OTHER.encode()}
    await Garbage(inner, Layout("u1")).collect(older_than=-1)
    async with mounted(inner) as disk:
        assert {await disk.load(path) for path in await disk.tree()} == {ONE.encode(), OTHER.encode()}


async def test_what_another_writer_put_in_its_place_meanwhile_stays(autojump_clock: MockClock) -> None:
    """And so does what had the name before: aside, until it is given one again."""
    inner = MemoryStore(S3_LIKE)
    store = Failing(inner)
    async with mounted(store) as disk:
        await fill(disk, "files")
        store.at = 3
        theirs = _Theirs(inner)
        store.struck = theirs.put
        assert await fails(disk)
        assert inner._objects[key(ONE)].data == b"theirs"
        assert inner._objects[key(OTHER)].data == OTHER.encode()
    await Garbage(inner, Layout("u1")).collect(older_than=-1)
    async with mounted(inner) as disk:
        assert {await disk.load(path) for path in await disk.tree()} == {
            b"theirs",
            ONE.encode(),
            OTHER.encode(),
        }


class _Theirs:
    """Stores a version of its own where the first file was."""

    def __init__(self, store: MemoryStore) -> None:
        self._store_it = store._store

    def put(self) -> None:
        with contextlib.suppress(StoreError):
            self._store_it(key(ONE), b"theirs", ETag("0" * 32), ObjectMeta({"mtime": "9"}))
