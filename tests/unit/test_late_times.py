"""A directory whose times alone are newer here than in the store: in all else, others change it as any directory."""

from __future__ import annotations

import time

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import S3_LIKE, MemoryStore
from tests.memory_shared import MemoryServer, MemoryShared
from tests.unit.disk import key, mounted
from vfs.errors import ObjectNotFound
from vfs.meta.sharing import FILL_PAUSE

DIRECTORY = "workspace/d"


async def told() -> None:
    await trio.sleep(3 * FILL_PAUSE)
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("together", [True, False], ids=["told by the feed", "asked for again"])
async def test_a_change_of_mode_is_seen_and_stays(together: bool, autojump_clock: MockClock) -> None:
    store, server = MemoryStore(S3_LIKE), MemoryServer()
    caches = [MemoryShared(server, time.time()) if together else None for _ in range(2)]
    async with (
        mounted(store, caches[0], workspace_ttl=30) as one,
        mounted(store, caches[1], workspace_ttl=30) as other,
    ):
        await one.mkdir(DIRECTORY)
        await told()
        await other.save(f"{DIRECTORY}/f", b"")
        written = (await other.stat(DIRECTORY)).attr.mtime_ns
        await one.change(DIRECTORY, mode=0o700)
        await trio.sleep(FILL_PAUSE * 3 if together else 31)
        attr = (await other.stat(DIRECTORY)).attr
        assert (attr.mode & 0o777, attr.mtime_ns) == (0o700, written)
    async with mounted(store) as third:
        attr = (await third.stat(DIRECTORY)).attr
        assert (attr.mode & 0o777, attr.mtime_ns) == (0o700, written), (
            "its times were stored, and no old mode"
        )


@pytest.mark.parametrize("together", [True, False], ids=["told by the feed", "asked for again"])
async def test_a_removal_is_seen_and_stays(together: bool, autojump_clock: MockClock) -> None:
    store, server = MemoryStore(S3_LIKE), MemoryServer()
    caches = [MemoryShared(server, time.time()) if together else None for _ in range(2)]
    async with mounted(store, caches[0], workspace_ttl=30) as one:
        async with mounted(store, caches[1], workspace_ttl=30) as other:
            await one.mkdir(DIRECTORY)
            await told()
            await other.save(f"{DIRECTORY}/f", b"")
            await other.unlink(f"{DIRECTORY}/f")
            await trio.sleep(FILL_PAUSE * 3 if together else 31)
            await one.rmdir(DIRECTORY)
            await trio.sleep(FILL_PAUSE * 3 if together else 31)
            assert await other.find(DIRECTORY) is None
            assert await other.listdir("workspace") == []
        with pytest.raises(ObjectNotFound):
            await store.head(key(f"{DIRECTORY}/"))
