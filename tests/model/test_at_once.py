"""Two mounts on which many programs do things at the same time, to the same few names, over a slow store.

Nobody can say what each of them must find. But in the end both mounts must show what is stored, no operation may have
failed in a way that it cannot, no invariant may be broken, and nothing may be held for ever. Without a kernel, in
simulated time; what differs from run to run is told by its seed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.memory_shared import MemoryServer, MemoryShared
from tests.model.test_model import LONG
from tests.unit.disk import Disk, key, mounted, stored
from tests.unit.simulation import simulate
from vfs.core.filesystem.rename import EXCHANGE
from vfs.core.inodes import Inode
from vfs.errors import VfsError
from vfs.meta.attrs import Defaults, decode
from vfs.meta.shared import Change
from vfs.store.layers import Call, Layer, T, Thunk

SEEDS = 2000 if LONG else 40
PROGRAMS = 60
PART = 16
NAMES = [f"workspace/{directory}{name}" for directory in ("", "d/") for name in "abc"]
WHATS = (
    "save",
    "save",
    "edit",
    "append",
    "link",
    "link",
    "unlink",
    "rename",
    "exchange",
    "chmod",
    "load",
    "list",
    "hold",
)
DELAYS = (0.0, 0.01, 0.1, 0.5)
EXPIRED = 1000.0
"""Seconds after which nothing that was known is believed."""


class Slow(Layer):
    """Answers late, and does late what it is asked, each by chance."""

    def __init__(self, store: MemoryStore, chance: random.Random) -> None:
        super().__init__(store)
        self.chance: random.Random | None = chance

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        await self._wait()
        result = await thunk()
        await self._wait()
        return result

    async def _wait(self) -> None:
        if self.chance is not None:
            await trio.sleep(self.chance.choice(DELAYS))


class Clocked(MemoryShared):
    """Its records are as old as simulated time says."""

    async def publish(self, changes: Sequence[Change]) -> None:
        self.clock = time.time()
        await super().publish(changes)


@dataclass
class Side:
    """One mount. `names` is what the kernel holds while it changes names in a directory (all of them, here)."""

    disk: Disk
    store: FaultStore
    slow: Slow
    names: trio.Lock

    def as_the_kernel(self) -> None:
        """Names that are not known to it are looked up, and made, one at a time."""
        fs = self.disk.fs
        lookup, create = fs.lookup, fs.create

        async def one_lookup(parent: int, name: bytes) -> Inode | None:
            child = fs.table.get(parent).children.get(name.decode())  # type: ignore[arg-type]
            ours = self.names.statistics().owner is trio.lowlevel.current_task()
            if ours or (child is not None and child.lookups):
                return await lookup(parent, name)  # type: ignore[arg-type]
            async with self.names:
                return await lookup(parent, name)  # type: ignore[arg-type]

        async def one_create(parent: int, name: bytes, *rest: object) -> object:
            async with self.names:
                found = await lookup(parent, name)  # type: ignore[arg-type]
                if found is not None:
                    fs.forget([(found.ino, 1)])
                return await create(parent, name, *rest)  # type: ignore[arg-type]

        fs.lookup, fs.create = one_lookup, one_create  # type: ignore[method-assign, assignment]


class Program:
    """What one of them does, once."""

    def __init__(self, side: Side, chance: random.Random, number: int) -> None:
        self._side, self._disk = side, side.disk
        self._chance = chance
        self._data = b"%d-" % number * chance.choice((1, 1, 8))
        self._one, self._other = chance.choice(NAMES), chance.choice(NAMES)
        self.what = chance.choice(WHATS)
        self._start = chance.random() * 20

    async def run(self) -> None:
        """Raises only what is no error of a file system."""
        await trio.sleep(self._start)
        act: Callable[[], Awaitable[object]] = getattr(self, self.what)
        try:
            if self.what in ("link", "unlink", "rename", "exchange"):
                async with self._side.names:
                    await act()
            else:
                await act()
        except VfsError:
            pass
        self._disk.fs.check()

    async def save(self) -> None:
        await self._disk.save(self._one, self._data)

    async def edit(self) -> None:
        await self._written(2, b"EDIT", os.O_RDWR)

    async def append(self) -> None:
        size = (await self._disk.walk(self._one)).attr.size
        await self._written(size, self._data, os.O_WRONLY | os.O_APPEND)

    async def link(self) -> None:
        await self._disk.link(self._one, self._other)

    async def unlink(self) -> None:
        await self._disk.unlink(self._one)

    async def rename(self) -> None:
        await self._disk.rename(self._one, self._other)

    async def exchange(self) -> None:
        await self._disk.rename(self._one, self._other, EXCHANGE)

    async def chmod(self) -> None:
        await self._disk.change(self._one, mode=self._chance.choice((0o600, 0o640, 0o644)))

    async def load(self) -> None:
        await self._disk.load(self._one)

    async def list(self) -> None:
        await self._disk.tree()

    async def hold(self) -> None:
        fh = await self._disk.open(self._one, os.O_RDONLY)
        try:
            await trio.sleep(self._chance.random() * 5)
            await self._disk.read(fh)
        finally:
            await self._disk.close(fh)

    async def _written(self, offset: int, data: bytes, flags: int) -> None:
        fh = await self._disk.open(self._one, flags)
        try:
            await self._disk.write(fh, offset, data)
        finally:
            await self._disk.close(fh)


@asynccontextmanager
async def two_sides(memory: MemoryStore, chance: random.Random, together: bool) -> AsyncIterator[list[Side]]:
    server, sides = MemoryServer(), []
    async with AsyncExitStack() as stack:
        for number in range(2):
            slow = Slow(memory, chance)
            store = FaultStore(slow, number)
            shared = Clocked(server) if together else None
            disk = await stack.enter_async_context(mounted(store, shared, part_size=PART))
            sides.append(Side(disk, store, slow, trio.Lock()))
        yield sides


async def play(seed: int, together: bool, faults: bool) -> None:
    chance, memory = random.Random(seed), MemoryStore(S3_LIKE)
    async with two_sides(memory, chance, together) as sides:
        await sides[0].disk.mkdir("workspace/d")
        await trio.sleep(6)  # the other one may know of no such name
        for side in sides:
            side.as_the_kernel()
            if faults:
                side.store.fail_before(count=None, probability=0.03)
                side.store.fail_after_apply("copy|delete|head|list|get", count=None, probability=0.02)
        async with trio.open_nursery() as nursery:
            for number in range(PROGRAMS):
                nursery.start_soon(Program(sides[number % 2], chance, number).run)
        for side in sides:
            side.store.clear()
            side.slow.chance = None
        await trio.sleep(EXPIRED)
        for side in sides:
            await shows_what_is_stored(side, memory)


async def shows_what_is_stored(side: Side, memory: MemoryStore) -> None:
    disk, found = side.disk, Counter[int]()
    files = {path for path in await disk.tree() if not (await disk.stat(path)).attr.is_dir}
    assert {key(path) for path in files} == {
        name for name in memory.stored() if not name.endswith("/") and "/.agentfs/" not in name
    }
    for path in files:
        inode, info = await disk.stat(path), await memory.head(key(path))
        assert await disk.load(path) == await stored(memory, path), path
        attr = decode(info, Defaults(0, 0, 0))
        assert (inode.attr.mode, inode.attr.size) == (attr.mode, attr.size), path
        found[inode.ino] += 1
    for inode in disk.fs.table:
        held = (inode.busy and inode.names) or inode.pins or inode.moving
        assert not held or inode.attr.is_dir, f"{inode} is held for ever"
        assert inode.nlink == found[inode.ino] or inode.attr.is_dir or not inode.names
    disk.fs.check()


@pytest.mark.timeout(3600 if LONG else 120)
@pytest.mark.parametrize("faults", [False, True], ids=["sound", "faults"])
@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_in_the_end_both_show_what_is_stored(
    together: bool, faults: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they hear of each other or not, and whether the store fails now and then or not."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())
    first = random.randrange(1 << 32)
    for seed in range(first, first + SEEDS):
        try:
            simulate(lambda seed=seed: play(seed, together, faults), seed)  # type: ignore[misc]
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
