"""Two mounts write the same file: neither side is dropped silently, with conditional writes and without."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import Disk, key, mounted, stored
from vfs.errors import Stale
from vfs.store.base import Capabilities

PART = 32
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
BLIND = replace(S3_LIKE, conditional_put=False)

both = pytest.mark.parametrize("capabilities", [S3_LIKE, BLIND], ids=["conditional", "by-head"])


@asynccontextmanager
async def two(capabilities: Capabilities) -> AsyncIterator[tuple[Disk, Disk, MemoryStore]]:
    """Two mounts of one user that know nothing of each other."""
    store = MemoryStore(capabilities)
    async with mounted(store, part_size=PART) as one, mounted(store, part_size=PART) as other:
        yield one, other, store
        one.check_idle()
        other.check_idle()


async def append(disk: Disk, path: str, data: bytes) -> None:
    """`echo ... >> path`: the kernel writes where it believes the end to be."""
    fh = await disk.create(path, APPEND)
    try:
        await disk.write(fh, (await disk.stat(path)).attr.size, data)
    finally:
        await disk.close(fh)


async def names(store: MemoryStore) -> list[str]:
    prefix = key("workspace/")
    return [info.key[len(prefix) :] for info in (await store.list(prefix)).objects if info.key != prefix]


@both
async def test_every_line_that_two_mounts_append_survives(capabilities: Capabilities) -> None:
    async with two(capabilities) as (one, other, store):
        for number in range(10):
            await append(one, "workspace/log", b"one %d\n" % number)
            await append(other, "workspace/log", b"other %d\n" % number)
        lines = (await stored(store, "workspace/log")).splitlines()
        assert sorted(lines) == sorted(b"%s %d" % (who, n) for who in (b"one", b"other") for n in range(10))
        assert await names(store) == ["log"]
        assert await other.load("workspace/log") == await stored(store, "workspace/log")
        assert other.fs.committer.conflicts.statistics().appended == 9


async def test_every_line_survives_when_both_append_at_the_same_time(autojump_clock: MockClock) -> None:
    async with two(S3_LIKE) as (one, other, store):

        async def write(disk: Disk, who: bytes) -> None:
            for number in range(20):
                await append(disk, "workspace/log", b"%s %d\n" % (who, number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, one, b"one")
            nursery.start_soon(write, other, b"other")
        lines = (await stored(store, "workspace/log")).splitlines()
        assert sorted(lines) == sorted(b"%s %d" % (who, n) for who in (b"one", b"other") for n in range(20))


@both
async def test_a_log_that_stays_open_goes_on_behind_what_others_append(capabilities: Capabilities) -> None:
    """The kernel goes on writing where it takes the end to be; O_APPEND means the end."""
    async with two(capabilities) as (one, other, store):
        await one.save("workspace/log", b"begin\n")
        fh = await other.create("workspace/log", APPEND)
        at = 6
        for number in range(5):
            await append(one, "workspace/log", b"one %d\n" % number)
            line = b"other %d\n" % number
            await other.write(fh, at, line)
            at += len(line)
            await other.fs.fsync(fh)
        await other.close(fh)
        found = (await stored(store, "workspace/log")).splitlines()
        assert sorted(found) == sorted(
            [b"begin", *(b"%s %d" % (who, n) for who in (b"one", b"other") for n in range(5))]
        )
        assert (await other.stat("workspace/log")).attr.size == len(await stored(store, "workspace/log"))


@both
async def test_an_append_to_a_large_file_that_was_replaced(capabilities: Capabilities) -> None:
    """Its clean parts are copied inside the store: from the version that is there now."""
    async with two(capabilities) as (one, other, store):
        await one.save("workspace/f", b"a" * 10 * PART)
        assert await other.find("workspace/f")
        await one.save("workspace/f", b"b" * (6 * PART + 5))
        await append(other, "workspace/f", b"tail")
        assert await stored(store, "workspace/f") == b"b" * (6 * PART + 5) + b"tail"
        assert await names(store) == ["f"]
        assert not await store.list_uploads("")


@both
async def test_the_last_close_wins_and_the_other_version_stays_beside(capabilities: Capabilities) -> None:
    async with two(capabilities) as (one, other, store):
        await one.save("workspace/f", b"first")
        assert await other.load("workspace/f") == b"first"
        await one.save("workspace/f", b"of one")
        await other.save("workspace/f", b"of other")
        assert await stored(store, "workspace/f") == b"of other"
        kept, beside = await names(store)
        assert kept == "f"
        assert beside.startswith("f.conflict-")
        assert await stored(store, f"workspace/{beside}") == b"of one"
        assert other.fs.committer.conflicts.statistics().kept == 1


@both
async def test_two_that_create_the_same_name_both_survive(capabilities: Capabilities) -> None:
    async with two(capabilities) as (one, other, store):
        first, second = await one.create("workspace/f"), await other.create("workspace/f")
        await one.write(first, 0, b"of one")
        await other.write(second, 0, b"of other")
        await one.close(first)
        await other.close(second)
        assert sorted([await stored(store, f"workspace/{name}") for name in await names(store)]) == [
            b"of one",
            b"of other",
        ]


@both
async def test_an_edit_of_a_large_file_that_was_replaced_is_refused(capabilities: Capabilities) -> None:
    async with two(capabilities) as (one, other, store):
        await one.save("workspace/f", b"a" * 10 * PART)
        fh = await other.open("workspace/f")
        await one.save("workspace/f", b"b" * 10 * PART)
        await other.write(fh, 5, b"edit")
        with pytest.raises(Stale):
            await other.close(fh)
        assert await stored(store, "workspace/f") == b"b" * 10 * PART
        await wait_all_tasks_blocked()
        assert not await store.list_uploads("")


async def test_appends_and_edits_together_are_no_appends() -> None:
    """Half of them would lie at the wrong place in another version: both are kept."""
    async with two(S3_LIKE) as (one, other, store):
        await one.save("workspace/f", b"header, body")
        fh = await other.open("workspace/f", os.O_RDWR | os.O_APPEND)
        await other.read(fh)
        edit = await other.open("workspace/f")
        await one.save("workspace/f", b"something else")
        await other.write(fh, 12, b", tail")
        await other.write(edit, 0, b"HEADER")
        await other.close(edit)
        await other.close(fh)
        assert sorted([await stored(store, f"workspace/{name}") for name in await names(store)]) == [
            b"HEADER, body, tail",
            b"something else",
        ]


async def test_the_name_of_the_other_version_is_no_longer_than_a_name_can_be() -> None:
    async with two(S3_LIKE) as (one, other, store):
        long = "ü" * 127
        await one.save(f"workspace/{long}", b"first")
        assert await other.find(f"workspace/{long}")
        await one.save(f"workspace/{long}", b"of one")
        await other.save(f"workspace/{long}", b"of other")
        assert len(await names(store)) == 2
        assert all(len(name.encode()) <= 255 for name in await names(store))
