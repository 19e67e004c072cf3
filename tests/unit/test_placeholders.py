"""`.emptyFolderPlaceholder`, with which other tools keep a directory that would else vanish."""

from __future__ import annotations

import pytest

from tests.fakes import MemoryStore
from tests.unit.disk import key, mounted
from vfs.errors import NotEmpty
from vfs.layout import PLACEHOLDER
from vfs.store.base import ObjectMeta
from vfs.types import Key


async def put(store: MemoryStore, path: str) -> None:
    await store.put(Key(key(path)), [b""], ObjectMeta())


async def test_such_a_directory_is_there_and_empty() -> None:
    store = MemoryStore()
    await put(store, f"workspace/d/{PLACEHOLDER}")
    async with mounted(store) as disk:
        assert await disk.listdir("workspace") == ["d"]
        assert await disk.listdir("workspace/d") == []


async def test_it_goes_with_its_placeholder() -> None:
    store = MemoryStore()
    await put(store, f"workspace/d/{PLACEHOLDER}")
    await put(store, f"workspace/e/{PLACEHOLDER}")
    await put(store, "workspace/e/")
    async with mounted(store) as disk:
        await disk.rmdir("workspace/d")
        await disk.rmdir("workspace/e")
        assert await disk.listdir("workspace") == []
    assert store.stored() == [key("memory/"), key("workspace/")]


async def test_what_lies_beside_a_placeholder_counts() -> None:
    store = MemoryStore()
    await put(store, f"workspace/d/{PLACEHOLDER}")
    await put(store, "workspace/d/file")
    async with mounted(store) as disk:
        assert await disk.listdir("workspace/d") == ["file"]
        with pytest.raises(NotEmpty):
            await disk.rmdir("workspace/d")
    assert key(f"workspace/d/{PLACEHOLDER}") in store.stored()
