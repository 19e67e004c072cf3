"""Two mounts that store one name: whoever tells last is not believed, as the other may have stored last."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.contract.shared import entry
from tests.memory_shared import MemoryServer, MemoryShared
from tests.unit.disk import Disk, key, mounted
from tests.unit.test_coherence import Desk, World, both, told, world
from vfs.meta.shared import Change, Kind
from vfs.meta.sharing import Sharing
from vfs.meta.writers import Writers
from vfs.store.base import ObjectMeta
from vfs.store.layers import Call, Layer, T, Thunk

FILE = "workspace/f"


def held(desk: Desk) -> trio.Event:
    """Nothing that this mount tells arrives before the event is set."""
    gate, publish = trio.Event(), desk.shared.publish

    async def late(changes: Sequence[Change]) -> None:
        await gate.wait()
        await publish(changes)

    desk.shared.publish = late  # type: ignore[method-assign]
    return gate


class LateAnswers(Layer):
    """The answer to the next change of an object comes when the event is set."""

    gate: trio.Event | None = None

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        result = await thunk()
        if call.name in ("put", "copy") and self.gate is not None:
            gate, self.gate = self.gate, None
            await gate.wait()
        return result


other_is_gone = pytest.mark.parametrize("gone", [False, True], ids=["", "the other is gone"])
"""Either of the two finds out, and tells all."""

Act = Callable[[Desk], Awaitable[object]]


def save(data: bytes) -> Act:
    return lambda desk: desk.disk.save(FILE, data)


def chmod(mode: int) -> Act:
    return lambda desk: desk.disk.change(FILE, mode=mode)


def unlink(desk: Desk) -> Awaitable[object]:
    return desk.disk.unlink(FILE)


Picture = tuple[list[str], int, bytes] | None


async def shown(disk: Disk) -> Picture:
    """What a program finds: the directory, mode and bytes of the file; None if there is none."""
    names = await disk.listdir("workspace")
    if await disk.find(FILE) is None:
        assert not names
        return None
    return names, (await disk.stat(FILE)).attr.mode & 0o777, await disk.load(FILE)


async def truth(made: World) -> Picture:
    """What a mount finds that knows the store alone."""
    async with mounted(made.memory) as disk:
        return await shown(disk)


@asynccontextmanager
async def three() -> AsyncIterator[tuple[World, Desk, Desk, Desk]]:
    """Mounts that have all seen the file, a while ago."""
    async with world() as made:
        one, two = await both(made)
        three = await made.mount()
        await one.disk.save(FILE, b"base")
        await told()
        for each in (two, three):
            await shown(each.disk)
        await trio.sleep(10)
        yield made, one, two, three


@other_is_gone
@pytest.mark.parametrize("pause", [0.0, 10.0], ids=["a moment later", "seconds later"])
@pytest.mark.parametrize(
    ("first", "last"),
    [(save(b"first"), save(b"the last")), (chmod(0o600), chmod(0o755)), (save(b"first"), unlink)],
    ids=["content", "attributes", "removed"],
)
async def test_who_stored_first_tells_last(
    first: Act, last: Act, pause: float, gone: bool, autojump_clock: MockClock
) -> None:
    async with three() as (made, one, two, third):
        gate = held(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first, one)
            await wait_all_tasks_blocked()
            await last(two)
            await told()
            await trio.sleep(pause)
            if gone:
                made.server.mounts.remove(two.shared)
            gate.set()
        await told()
        wanted = await truth(made)
        assert (wanted is None) == (last is unlink)
        for each in (one, third, await made.mount(), *([] if gone else [two])):
            assert await shown(each.disk) == wanted


@pytest.mark.parametrize(
    ("first", "last"),
    [(save(b"first"), save(b"the last")), (chmod(0o600), chmod(0o755))],
    ids=["content", "attributes"],
)
@other_is_gone
async def test_who_stored_first_gets_the_answer_last(
    first: Act, last: Act, gone: bool, autojump_clock: MockClock
) -> None:
    async with three() as (made, _, two, third):
        late = LateAnswers(made.memory)
        one = await made.mount(late)
        await shown(one.disk)
        gate = late.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first, one)
            await wait_all_tasks_blocked()
            await last(two)
            await trio.sleep(20)
            if gone:
                made.server.mounts.remove(two.shared)
            gate.set()
        await told()
        wanted = await truth(made)
        for each in (one, third, await made.mount(), *([] if gone else [two])):
            assert await shown(each.disk) == wanted


async def test_one_who_saves_by_a_temporary_name_is_believed(autojump_clock: MockClock) -> None:
    """He alone wrote both names, so the news comes in order: the others keep all they know, and ask for nothing."""
    async with three() as (_, one, two, _):
        before, trips = two.asked(), two.trips
        for number in range(3):
            await one.disk.save(f"{FILE}.tmp", b"new" * number)
            await one.disk.rename(f"{FILE}.tmp", FILE)
            await told()
            assert await two.disk.listdir("workspace") == ["f"]
            assert (await two.disk.stat(FILE)).attr.size == 3 * number
        assert two.asked() == before
        assert two.trips == trips


async def test_two_who_take_turns_are_asked_for(autojump_clock: MockClock) -> None:
    async with three() as (_, one, two, third):
        for number in range(6):
            desk = (one, two)[number % 2]
            fh = await desk.disk.open(FILE, os.O_WRONLY | os.O_APPEND)
            await desk.disk.write(fh, 4 + number, b"x")
            await desk.disk.close(fh)
            await told()
            for each in (one, two, third):
                assert await each.disk.load(FILE) == b"base" + b"x" * (number + 1)


@pytest.mark.parametrize("name", ["f", "new"])
async def test_a_directory_is_not_read_before_others_know_what_was_done_here(
    name: str, autojump_clock: MockClock
) -> None:
    """What the shared cache holds as the whole of it would lack the newest file, and take it from the tree."""
    async with three() as (made, one, two, _):
        for _ in range(2):
            assert await shown(two.disk)
            await told()
        assert made.server.directories["workspace"].complete
        one.disk.fs.cache.forget_all()
        await one.disk.walk("workspace")
        gate = held(one)
        listed: list[list[str]] = []

        async def listing() -> None:
            listed.append(await one.disk.listdir("workspace"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.disk.save, f"workspace/{name}", b"data")
            await wait_all_tasks_blocked()
            nursery.start_soon(listing)
            await trio.sleep(0.5)
            gate.set()
        await told()
        assert listed == [sorted({"f", name})]
        assert await one.disk.load(f"workspace/{name}") == b"data"


async def test_what_another_program_stored_is_found_although_others_knew_the_old_version(
    autojump_clock: MockClock,
) -> None:
    """The first request that fails says so to the shared cache, before it is asked again."""
    async with three() as (made, _, two, _):
        await made.memory.put(key(FILE), [b"by another program"], ObjectMeta())
        await two.disk.change(FILE, mode=0o600)
        assert await two.disk.load(FILE) == b"by another program"
        await made.memory.put(key(FILE), [b"again"], ObjectMeta())
        await two.disk.rename(FILE, "workspace/g")
        assert await two.disk.load("workspace/g") == b"again"


async def test_writers(autojump_clock: MockClock) -> None:
    writers = Writers(longest=60)
    assert not writers.heard("a", "one")
    assert not writers.heard("a", "one"), "in order"
    assert writers.heard("a", "two")
    assert writers.heard("a", "one"), "as long as news of it comes in"
    await trio.sleep(3)
    assert not writers.heard("a", "one"), "its news is old enough"
    assert writers.wrote("a"), "it may have been stored before what was heard"
    assert not writers.wrote("a")
    await trio.sleep(59)
    assert writers.heard("a", "one"), "it may have been stored before what was written here"
    await trio.sleep(61)
    assert not writers.heard("a", "one")
    await trio.sleep(61)
    assert not writers.wrote("a")


@pytest.mark.parametrize("of_all", [False, True], ids=["a name", "a directory"])
async def test_what_was_done_here_is_told_before_others_are_asked(of_all: bool) -> None:
    server = MemoryServer()
    sharing = Sharing(MemoryShared(server))
    sharing.heard = True
    sharing.note(Change(Kind.PUT, "workspace/f", entry()))
    if of_all:
        names, _, _ = await sharing.folder("workspace", lambda path, entry: math.inf, math.inf)
        assert set(names) == {"f"}
    else:
        found, _ = await sharing.name("workspace/f", key("workspace/f"), lambda path, entry: math.inf)
        assert found is not None
        assert found.entry == entry()
