"""Indexes of directories: a cold mount asks one question instead of one per file, and is never told wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import trio

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import Disk, key, mounted
from vfs.layout import Layout
from vfs.meta.index import Indexes
from vfs.store.base import ObjectMeta
from vfs.store.metered import Metered
from vfs.types import Attr, Key

FILES = 200
HOUR_NS = 3_600_000_000_000
INDEX = Key("users/u1/.agentfs/index/workspace/d")


def age(store: MemoryStore) -> None:
    """An hour goes by."""
    for name, stored in store._objects.items():
        store._objects[name] = replace(stored, modified_ns=stored.modified_ns - HOUR_NS)


async def filled() -> MemoryStore:
    """A directory of old files that others made."""
    store = MemoryStore(S3_LIKE)
    for number in range(FILES):
        meta = ObjectMeta({"mode": "33152", "uid": f"{number}", "mtime": "7.000000009"})
        await store.put(key(f"workspace/d/{number}"), [b"x" * number], meta)
    age(store)
    return store


async def looked_at(disk: Disk, *, wait: bool = True) -> dict[str, Attr]:
    """`ls -l`; with `wait`, and what the mount does afterwards."""
    names = await disk.listdir("workspace/d")
    found = {name: (await disk.stat(f"workspace/d/{name}")).attr for name in names}
    if wait:
        await disk.fs.background.finished(10)
    return found


async def asked(memory: MemoryStore) -> tuple[dict[str, Attr], Counter[str]]:
    """What a cold mount sees of the directory, and what it asked of the store for it."""
    store = Metered(memory)
    async with mounted(store) as disk:
        assert await disk.find("workspace/d")
        before = Counter({name: call.ended for name, call in store.statistics().calls.items()})
        found = await looked_at(disk)
        await looked_at(disk)
        after = Counter({name: call.ended for name, call in store.statistics().calls.items()})
    return found, after - before


async def test_the_first_asks_for_every_file_and_the_next_for_none() -> None:
    memory = await filled()
    first, cost = await asked(memory)
    assert cost == {"list": 1, "head": FILES, "get": 1, "put": 1}
    second, cost = await asked(memory)
    assert cost == {"list": 1, "get": 1}
    assert first == second
    assert {attr.uid for attr in second.values()} == set(range(FILES))


async def test_what_was_changed_since_is_asked_for() -> None:
    memory = await filled()
    await asked(memory)
    old = await memory.head(key("workspace/d/7"))
    await memory.copy(old.key, old.key, ObjectMeta({"mode": "33279"}))
    await memory.put(key("workspace/d/8"), [b"new"], ObjectMeta())
    await memory.delete(key("workspace/d/9"))
    assert (await memory.head(old.key)).etag == old.etag, "as on S3"
    found, cost = await asked(memory)
    assert cost == {"list": 1, "get": 1, "head": 2}
    assert found["7"].mode & 0o777 == 0o777
    assert found["8"].size == 3
    assert "9" not in found


async def test_young_versions_are_not_written_down() -> None:
    """Within the second in which they are the newest, attributes may change and the listing stay the same."""
    memory = await filled()
    for number in range(FILES):
        await memory.put(key(f"workspace/d/{number}"), [b"young"], ObjectMeta())
    _, cost = await asked(memory)
    assert "put" not in cost
    assert INDEX not in memory.stored()


async def test_a_small_directory_has_none() -> None:
    memory = await filled()
    for number in range(20, FILES):
        await memory.delete(key(f"workspace/d/{number}"))
    _, cost = await asked(memory)
    assert cost == {"list": 1, "head": 20}


async def test_garbage_is_no_index() -> None:
    memory = await filled()
    for body in (b"", b"{}", b"\x78\x9c", b"no zlib"):
        await memory.put(INDEX, [body], ObjectMeta())
        assert await Indexes(memory, Layout("u1")).load("workspace/d") == {}
    found, _ = await asked(memory)
    assert len(found) == FILES


async def test_names_of_any_kind_and_attributes_survive() -> None:
    memory = MemoryStore(S3_LIKE)
    async with mounted(memory) as disk:
        await disk.mkdir("workspace/d")
        for number in range(100):
            await disk.save(f"workspace/d/{number} \u00fc\n", b"x")
        inode = await disk.walk("workspace/d/7 \u00fc\n")
        await disk.fs.setxattr(inode.ino, b"user.key", b"\0value")
        before = {
            name: (await disk.stat(f"workspace/d/{name}")).attr for name in await disk.listdir("workspace/d")
        }
    age(memory)
    await asked(memory)
    assert INDEX in memory.stored()
    found, cost = await asked(memory)
    assert cost == {"list": 1, "get": 1}
    assert {name: replace(attr, ctime_ns=0) for name, attr in found.items()} == {
        name: replace(attr, ctime_ns=0) for name, attr in before.items()
    }


async def test_writing_it_down_delays_nobody() -> None:
    """The directory is closed before the index is stored."""
    memory = await filled()

    class Slow(Metered):
        async def put(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            if "index" in args[0]:
                await trio.sleep(0.05)
                self.stored = True
            return await super().put(*args, **kwargs)

    store = Slow(memory)
    async with mounted(store) as disk:
        await looked_at(disk, wait=False)
        assert not hasattr(store, "stored")
    assert INDEX in memory.stored()


async def test_looking_at_files_while_their_directory_is_read() -> None:
    """As `ls -l` does: the listing has told that they are files, so nobody asks for directories of their names."""
    memory = await filled()
    store = Metered(memory)
    async with mounted(store) as disk:
        directory = await disk.walk("workspace/d")
        fh = await disk.fs.opendir(directory.ino)
        names = [name.decode() async for name, _, _ in disk.fs.entries(fh, 2)]
        disk.fs.cache.memory.clear()
        before = store.statistics().calls["list"].ended
        for name in names:
            await disk.stat(f"workspace/d/{name}")
        await disk.fs.releasedir(fh)
        assert store.statistics().calls["head"].ended == FILES + 3, "the roots and the directory too"
        assert store.statistics().calls["list"].ended - before <= 2
