"""Attributes that another mount set, of which nothing was heard: who changes something else keeps them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, MemoryStore
from tests.unit.disk import ME, Disk, mounted
from vfs.core.filesystem import Changes
from vfs.errors import NoAttribute
from vfs.store.metered import Metered

PATH = "workspace/entry"
KNOWN = 200
"""Seconds: more than `--revalidate`, less than what is known lives."""

Change = Callable[[Disk, int], Awaitable[object]]

TOUCH: Mapping[str, Change] = {
    "touch": lambda disk, ino: disk.fs.setattr(ino, Changes(mtime_ns=10**18), None, ME),
    "chown": lambda disk, ino: disk.fs.setattr(ino, Changes(uid=7, gid=7), None, ME),
    "setxattr": lambda disk, ino: disk.fs.setxattr(ino, b"user.mine", b"2"),
    "removexattr": lambda disk, ino: disk.fs.removexattr(ino, b"user.old"),
}


async def make(disk: Disk, kind: str) -> int:
    if kind == "file":
        await disk.save(PATH, b"content")
    elif kind == "directory":
        await disk.mkdir(PATH)
    else:
        link = await disk.fs.symlink((await disk.walk("workspace")).ino, b"entry", b"target", ME)
        disk.known[link.ino] += 1
    ino = (await disk.walk(PATH)).ino
    await disk.fs.setxattr(ino, b"user.old", b"0")
    return ino


@asynccontextmanager
async def two(kind: str, **changes: float) -> AsyncIterator[tuple[Disk, int, Disk, int, Metered]]:
    """Both know the entry. The requests that the second one makes are counted."""
    memory = MemoryStore(S3_LIKE)
    store = Metered(memory)
    async with mounted(memory, **changes) as one, mounted(store, **changes) as other:
        ino = await make(one, kind)
        yield one, ino, other, (await other.stat(PATH)).ino, store


def calls(store: Metered) -> dict[str, int]:
    return {name: call.ended for name, call in store.statistics().calls.items()}


def since(before: dict[str, int], store: Metered) -> dict[str, int]:
    return {
        name: ended - before.get(name, 0) for name, ended in calls(store).items() if ended != before.get(name)
    }


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
@pytest.mark.parametrize("change", TOUCH)
async def test_what_another_mount_set_stays(change: str, kind: str, autojump_clock: MockClock) -> None:
    async with two(kind) as (one, ino, other, its, _):
        await one.fs.setattr(ino, Changes(mode=0o600), None, ME)
        await one.fs.setxattr(ino, b"user.theirs", b"1")
        await trio.sleep(KNOWN)
        await TOUCH[change](other, its)
        await trio.sleep(2 * KNOWN)
        attr = (await one.stat(PATH)).attr
        assert attr.mode & 0o777 == 0o600
        assert attr.xattrs["user.theirs"] == b"1"
        assert (attr.mtime_ns == 10**18) == (change == "touch")
        assert (attr.uid == 7) == (change == "chown")
        assert ("user.mine" in attr.xattrs) == (change == "setxattr")
        assert ("user.old" in attr.xattrs) == (change != "removexattr")


async def test_an_attribute_that_another_mount_removed_cannot_be_removed(autojump_clock: MockClock) -> None:
    async with two("file") as (one, ino, other, its, _):
        await one.fs.removexattr(ino, b"user.old")
        await trio.sleep(KNOWN)
        with pytest.raises(NoAttribute):
            await other.fs.removexattr(its, b"user.old")


@pytest.mark.parametrize("change", TOUCH)
@pytest.mark.parametrize(("kind", "stored"), [("file", "copy"), ("directory", "put"), ("symlink", "put")])
async def test_it_costs_a_question_when_nothing_was_asked_for_a_while(
    kind: str, stored: str, change: str, autojump_clock: MockClock
) -> None:
    async with two(kind) as (_, _, other, its, store):
        for seconds, expected in ((0.0, {stored: 1}), (KNOWN, {"head": 1, stored: 1})):
            await other.fs.setxattr(its, b"user.old", b"0")
            if kind == "symlink":
                await other.fs.readlink(its)
            await trio.sleep(seconds)
            before = calls(store)
            await TOUCH[change](other, its)
            assert since(before, store) == expected


async def test_who_wants_only_the_time_to_live_asks_nothing(autojump_clock: MockClock) -> None:
    async with two("file", revalidate=float("inf")) as (_, _, other, its, store):
        await trio.sleep(KNOWN)
        before = calls(store)
        await TOUCH["touch"](other, its)
        assert since(before, store) == {"copy": 1}


@pytest.mark.parametrize("change", TOUCH)
async def test_of_a_file_that_is_being_written_nothing_is_asked(
    change: str, autojump_clock: MockClock
) -> None:
    """It goes with the commit."""
    async with two("file") as (one, _, other, its, store):
        fh = await other.open(PATH, os.O_RDWR)
        await other.write(fh, 0, b"CONTENT")
        await trio.sleep(KNOWN)
        before = calls(store)
        await TOUCH[change](other, its)
        assert since(before, store) == {}
        await other.close(fh)
        assert since(before, store) == {"put": 1}
        await trio.sleep(2 * KNOWN)
        assert await one.load(PATH) == b"CONTENT"
