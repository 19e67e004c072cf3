"""What goes from one prefix to another: what is kept of it meanwhile, and what is found of it later."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping, Sequence

import pytest

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import config, key
from vfs.core.filesystem.transfer import Transfer, is_copied
from vfs.core.volume import Volume
from vfs.store.base import ListPage, ObjectInfo, ObjectMeta, StoreFailure
from vfs.types import ETag, Key

META = ObjectMeta({"mode": "33188"})
OLD, NEW = key("workspace/old/"), key("workspace/new/")


class HugeStore(MemoryStore):
    """Lists so many objects that it does not have, takes their copies, and keeps none of all that."""

    def __init__(self, objects: int) -> None:
        super().__init__(S3_LIKE)
        self.objects = objects
        self.copied = self.deleted = 0

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        begin = int(token or 0)
        end = min(begin + limit, self.objects)
        page = [self.listed(Key(f"{prefix}src/module{number:07}/a.py")) for number in range(begin, end)]
        return ListPage(page, (), str(end) if end < self.objects else None)

    async def copy(
        self, source: Key, target: Key, meta: ObjectMeta | None = None, *, if_match: ETag | None = None
    ) -> ObjectInfo:
        self.copied += 1
        assert not self.deleted
        return self.listed(target)

    async def delete_many(self, keys: Sequence[Key]) -> Mapping[Key, StoreFailure]:
        assert self.copied == self.objects
        assert keys[0].startswith(OLD)
        self.deleted += len(keys)
        return {}

    def listed(self, key: Key) -> ObjectInfo:
        return ObjectInfo(key, 10, ETag(f"{hash(key) & (1 << 128) - 1:032x}"), 0)


async def test_a_huge_directory_moves_in_little_memory() -> None:
    store = HugeStore(5_000)
    names = [f"src/module{number:07}/a.py" for number in (7, 8)]
    known = {names[0]: store.listed(Key(OLD + names[0])).etag, names[1]: ETag("another")}
    move = Transfer(Volume(store, config()), OLD, NEW, known)
    move.directories = _Forgetful()
    gc.collect()
    tracemalloc.start()
    try:
        await move.bring()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / store.objects < 64, f"{kept / store.objects:.0f} bytes for each object"
    assert list(move.etags) == names[:1]
    await move.clear()
    assert (store.copied, store.deleted) == (5_000, 5_000)


class _Forgetful(set[str]):
    """Here every object has a directory of its own, which is not what is measured."""

    def add(self, element: str) -> None:
        pass


async def test_names_of_all_kinds_are_deleted_as_they_were_copied() -> None:
    store = MemoryStore(S3_LIKE)
    names = ["", 'quoted "x"', "back\\slash", "line\nbreak", "ü/日本", "sub/", "sub/deep/f"]
    for name in names:
        await store.put(Key(OLD + name), [name.encode()], META)
    move = Transfer(Volume(store, config()), OLD, NEW)
    await move.run()
    assert store.stored() == sorted(NEW + name for name in names)
    assert move.marker
    assert move.directories == {"", "ü", "sub", "sub/deep"}


@pytest.mark.parametrize(
    ("left", "there", "expected"),
    [
        ([], ["a"], False),
        (["a"], [], False),
        (["b", "d"], ["a", "b", "c", "d", "e"], True),
        (["a", "b"], ["a", "c"], False),
        (["x"], ["a", "b"], False),
        ([f"{n:04}" for n in range(900, 2100)], [f"{n:04}" for n in range(2500)], True),
    ],
)
async def test_what_a_move_left_is_found(left: list[str], there: list[str], expected: bool) -> None:
    store = MemoryStore(S3_LIKE)
    for prefix, names in ((OLD, left), (NEW, there)):
        for name in names:
            await store.put(Key(prefix + name), [name.encode()], META)
    assert await is_copied(store, OLD, NEW) == expected
    if expected:
        await store.put(Key(OLD + left[-1]), [b"changed"], META)
        assert not await is_copied(store, OLD, NEW)
