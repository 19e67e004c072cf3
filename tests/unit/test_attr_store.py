"""Attributes that are stored alone, beside commits, writes and failures."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.unit.disk import mounted, stored
from vfs.errors import Stale, StoreUnavailable
from vfs.store.metered import Metered


async def test_a_chmod_beside_a_commit(autojump_clock: MockClock) -> None:
    """`: > f` in one shell and `chmod f` in another: the object that one copies is what the other replaces."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"first")
        for number in range(5):
            store.slow("put|copy", seconds=1, count=2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disk.save, "workspace/f", b"%d" % number)
                await trio.sleep(number / 4)
                nursery.start_soon(lambda mode=0o600 + number: disk.change("workspace/f", mode=mode))  # type: ignore[misc]
            store.clear()
            assert await stored(store, "workspace/f") == b"%d" % number
            disk.forget_all()
            disk.fs.cache.forget_all()
            assert (await disk.stat("workspace/f")).attr.mode & 0o777 == 0o600 + number
            assert disk.fs.last_error == ""


async def test_a_chmod_that_fails_takes_back_nothing_else(autojump_clock: MockClock) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"first")
        fh = await disk.open("workspace/f", os.O_RDONLY)
        store.slow("copy", seconds=1, count=1)
        store.fail_before("copy")

        async def change() -> None:
            with pytest.raises(StoreUnavailable):
                await disk.change("workspace/f", mode=0o600)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            await trio.sleep(0.5)
            other = await disk.open("workspace/f", os.O_WRONLY)
            await disk.write(other, 0, b"second, longer")
        attr = (await disk.stat("workspace/f")).attr
        assert (attr.mode & 0o777, attr.size) == (0o644, 14)
        await disk.close(other)
        await disk.close(fh)
        assert await disk.load("workspace/f") == b"second, longer"


async def test_a_removed_file_is_not_changed(autojump_clock: MockClock) -> None:
    """By another mount: ESTALE makes the kernel look the path up once more."""
    memory = MemoryStore(S3_LIKE)
    store = Metered(memory)
    async with mounted(store, revalidate=float("inf")) as here, mounted(memory) as there:
        await here.save("workspace/f", b"ours")
        await there.unlink("workspace/f")
        with pytest.raises(Stale):
            await here.change("workspace/f", mode=0o600)
        assert await here.find("workspace/f") is None
