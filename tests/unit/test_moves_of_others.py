"""What another mount stored meanwhile, and this one moves: it comes along, and is not taken for what was known."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.memory_shared import MemoryServer, MemoryShared
from tests.unit.disk import Disk, mounted, stored
from vfs.core.filesystem.rename import EXCHANGE
from vfs.errors import StoreUnavailable, VfsError
from vfs.store.base import Capabilities

OURS = b"ours, of old"
THEIRS = b"THEIRS, which is newer"
EDIT = b"#"
EDITED = EDIT + THEIRS[1:]

LATER = 1.5
"""Seconds after which an open asks again (`--revalidate`)."""

FILE = "workspace/d/sub/f"
MOVES = {
    "a file": (FILE, "workspace/new", 0, "workspace/new"),
    "its directory": ("workspace/d", "workspace/new", 0, "workspace/new/sub/f"),
    "files that change places": (FILE, "workspace/o", EXCHANGE, "workspace/o"),
    "a file for another": ("workspace/o", FILE, EXCHANGE, "workspace/o"),
    "directories that change places": ("workspace/d", "workspace/e", EXCHANGE, "workspace/e/sub/f"),
    "a directory and a file": ("workspace/o", "workspace/d", EXCHANGE, "workspace/o/sub/f"),
}

CAN = {
    "conditional copies": S3_LIKE,
    "none": replace(S3_LIKE, conditional_copy=False),
    "renames": replace(S3_LIKE, rename=True),
    "exchanges": replace(S3_LIKE, rename=True, exchange=True),
}

every_move = pytest.mark.parametrize("move", MOVES)
every_store = pytest.mark.parametrize("can", CAN.values(), ids=CAN)


@asynccontextmanager
async def two(
    can: Capabilities = S3_LIKE, server: MemoryServer | None = None, **changes: Any
) -> AsyncIterator[tuple[Disk, Disk, FaultStore]]:
    """A mount, its store, and another mount."""
    memory = MemoryStore(can)
    store = FaultStore(memory)
    caches = [MemoryShared(server) if server is not None else None for _ in range(2)]
    async with mounted(store, caches[0], **changes) as here, mounted(memory, caches[1]) as there:
        for name in ("d", "d/sub", "e"):
            await here.mkdir(f"workspace/{name}")
        await here.save(FILE, OURS)
        await here.save("workspace/o", b"another file")
        await trio.sleep(LATER)
        yield here, there, store


async def edit(disk: Disk, path: str) -> None:
    fh = await disk.open(path)
    await disk.write(fh, 0, EDIT)
    await disk.close(fh)


async def bodies(store: FaultStore) -> list[bytes]:
    """Of all files in the workspace, however they are named."""
    keys = [info.key for info in (await store.list("")).objects if not info.key.endswith("/")]
    return [bytes((await store.get(key)).data) for key in keys]


@every_store
@pytest.mark.parametrize("ram", [True, False], ids=["ours in RAM", "ours not in RAM"])
@every_move
async def test_its_bytes_come_along_and_are_read(
    move: str, ram: bool, can: Capabilities, autojump_clock: MockClock
) -> None:
    old, new, flags, moved = MOVES[move]
    async with two(can) as (here, there, store):
        if not ram:
            here.fs.release_content(await here.walk(FILE))
        await there.save(FILE, THEIRS)
        await here.rename(old, new, flags)
        assert await stored(store, moved) == THEIRS
        for _ in range(2):
            await trio.sleep(LATER)
            assert await here.load(moved) == THEIRS
            assert (await here.stat(moved)).attr.size == len(THEIRS)
        here.fs.check()


@pytest.mark.parametrize("can", list(CAN.values())[:2], ids=list(CAN)[:2])
@every_move
async def test_it_is_seen_at_once(move: str, can: Capabilities, autojump_clock: MockClock) -> None:
    """By who trusts what he knows for its time to live: the copies have told that it was not true."""
    old, new, flags, moved = MOVES[move]
    async with two(can, revalidate=float("inf")) as (here, there, _):
        await there.save(FILE, THEIRS)
        await here.rename(old, new, flags)
        assert (await here.stat(moved)).attr.size == len(THEIRS)
        assert await here.load(moved) == THEIRS


@every_move
async def test_what_nobody_else_stored_is_not_fetched_again(move: str, autojump_clock: MockClock) -> None:
    old, new, flags, moved = MOVES[move]
    async with two(revalidate=float("inf")) as (here, _, store):
        await here.rename(old, new, flags)
        asked = len(store.log)
        assert await here.load(moved) == OURS
        assert "get" not in {call.name for call in store.log[asked:]}


@pytest.mark.parametrize("can", list(CAN.values())[:2], ids=list(CAN)[:2])
@pytest.mark.parametrize("remove", [True, False], ids=["removed", "replaced"])
async def test_who_has_it_open_does_not_read_its_bytes_when_it_goes(
    remove: bool, can: Capabilities, autojump_clock: MockClock
) -> None:
    """His version is nowhere any more."""
    async with two(can) as (here, there, _):
        inode = await here.walk(FILE)
        here.fs.release_content(inode)
        fh = await here.open(FILE, os.O_RDONLY)
        await there.save(FILE, THEIRS)
        await (here.unlink(FILE) if remove else here.rename("workspace/o", FILE))
        with pytest.raises(VfsError):
            await here.read(fh)
        await here.close(fh)


@every_store
@every_move
async def test_an_edit_is_made_to_its_bytes(move: str, can: Capabilities, autojump_clock: MockClock) -> None:
    old, new, flags, moved = MOVES[move]
    async with two(can) as (here, there, store):
        await there.save(FILE, THEIRS)
        await here.rename(old, new, flags)
        await trio.sleep(LATER)
        await edit(here, moved)
        assert await stored(store, moved) == EDITED
        assert OURS not in await bodies(store)


@every_store
@pytest.mark.parametrize("together", [True, False], ids=["told by the feed", "not told"])
@pytest.mark.parametrize("move", list(MOVES)[1:])
async def test_an_edit_by_who_had_it_open_keeps_its_bytes_beside(
    move: str, together: bool, can: Capabilities, autojump_clock: MockClock
) -> None:
    old, new, flags, moved = MOVES[move]
    async with two(can, MemoryServer() if together else None) as (here, there, store):
        fh = await here.open(FILE)
        await there.save(FILE, THEIRS)
        await trio.sleep(LATER)
        await here.rename(old, new, flags)
        await trio.sleep(LATER)
        await here.write(fh, 0, EDIT)
        await here.close(fh)
        assert THEIRS in await bodies(store)
        assert await stored(store, moved) == EDIT + OURS[1:]


@pytest.mark.parametrize("move", [name for name, (_, _, flags, _) in MOVES.items() if flags])
async def test_an_exchange_that_is_undone_puts_its_bytes_back(move: str, autojump_clock: MockClock) -> None:
    old, new, flags, _ = MOVES[move]
    async with two() as (here, there, store):
        await there.save(FILE, THEIRS)
        store.fail_before("copy", keys=f"{new}(/|$)")
        with pytest.raises(StoreUnavailable):
            await here.rename(old, new, flags)
        assert await stored(store, FILE) == THEIRS
        assert await here.load("workspace/o") == b"another file"
        await trio.sleep(LATER)
        assert await here.load(FILE) == THEIRS
        await edit(here, FILE)
        assert await stored(store, FILE) == EDITED
        assert sorted(await bodies(store)) == sorted([EDITED, b"another file"])


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
async def test_a_file_that_is_open_here_and_was_replaced_is_renamed(
    flags: int, autojump_clock: MockClock
) -> None:
    """The name is; who has the file open keeps what he has of it, and an edit of it keeps both versions."""
    async with two() as (here, there, store):
        await here.save("workspace/f", OURS)
        fh = await here.open("workspace/f", flags)
        assert await here.read(fh) == OURS
        await there.save("workspace/f", THEIRS)
        await trio.sleep(LATER)
        await here.rename("workspace/f", "workspace/g")
        assert await stored(store, "workspace/g") == THEIRS
        assert await here.read(fh) == OURS
        if flags == os.O_RDWR:
            await here.write(fh, 0, EDIT)
        await here.close(fh)
        await trio.sleep(LATER)
        if flags == os.O_RDONLY:
            assert await here.load("workspace/g") == THEIRS
            return
        assert await here.load("workspace/g") == EDIT + OURS[1:]
        (other,) = [name for name in await here.listdir("workspace") if name.startswith("g.conflict-")]
        assert await here.load(f"workspace/{other}") == THEIRS
