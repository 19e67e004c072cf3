"""Random programs on one file: what was read, what was acknowledged, and what the store has, against a model.

Operations take effect in one step, so the model is a history of whole contents: a read gives bytes that the file had
while it ran, and an acknowledged commit leaves an object that is the file at one moment since it was called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FaultStore, MemoryStore
from tests.unit.disk import ME, Disk, key, mounted, stored
from tests.unit.simulation import simulate
from vfs.core.filesystem import Changes
from vfs.errors import VfsError
from vfs.types import Fh

PART = 32
SPAN = 8 * PART
PATH = "workspace/f"


@dataclass
class History:
    """Every content the file ever had."""

    versions: list[bytes] = field(default_factory=lambda: [b""])
    acknowledged: int = 0
    failed: bool = False

    @property
    def now(self) -> bytes:
        return self.versions[-1]

    @property
    def moment(self) -> int:
        return len(self.versions) - 1

    def write(self, offset: int, data: bytes) -> None:
        old = self.now.ljust(offset, b"\0")
        self.versions.append(old[:offset] + data + old[offset + len(data) :])

    def truncate(self, size: int) -> None:
        self.versions.append(self.now[:size].ljust(size, b"\0"))

    def could_read(self, since: int, offset: int, size: int, got: bytes) -> bool:
        views = [version[offset : offset + size] for version in self.versions[since:]]
        if len(got) not in {len(view) for view in views}:
            return False
        return all(any(byte in view[i : i + 1] for view in views) for i, byte in enumerate(got))

    def was_whole(self, since: int, data: bytes) -> bool:
        return data in self.versions[since:]


pauses = st.floats(0, 3)
step = st.one_of(
    st.tuples(st.just("write"), st.integers(0, SPAN), st.binary(min_size=1, max_size=2 * PART)),
    st.tuples(st.just("append"), st.just(0), st.binary(min_size=1, max_size=3 * PART)),
    st.tuples(st.just("append"), st.just(0), st.binary(min_size=PART, max_size=3 * PART)),
    st.tuples(st.just("truncate"), st.one_of(st.just(0), st.integers(0, SPAN)), st.just(b"")),
    st.tuples(st.just("read"), st.integers(0, SPAN), st.just(b"")),
    st.tuples(st.just("fsync"), st.just(0), st.just(b"")),
    st.tuples(st.just("close"), st.just(0), st.just(b"")),
)
program = st.lists(st.tuples(pauses, step), min_size=1, max_size=12)


Look = Callable[[], Awaitable[bytes]]
Steps = list[tuple[float, tuple[str, int, bytes]]]


class Player:
    """One process that works on the file, as a list of steps. `look` reads the object, past all faults."""

    def __init__(self, disk: Disk, history: History, look: Look | None = None) -> None:
        self.disk, self.history = disk, history
        self.look = look or (lambda: stored(disk.fs.store, PATH))

    async def play(self, fh: Fh, steps: Steps) -> None:
        for pause, (kind, at, data) in steps:
            await trio.sleep(pause)
            if self.history.failed:
                break  # what a file that reverted goes on with is another history
            since = self.history.moment
            try:
                fh = await self.one(fh, kind, at, data)
            except VfsError:
                self.history.failed = True
                if kind == "close":
                    return  # the handle is gone, whether its close failed or the open after it
                continue
            if kind in ("fsync", "close") and not self.history.failed:
                found = await self.look()
                assert self.history.was_whole(since, found), (
                    f"{kind} was acknowledged, the store has {found!r}"
                )
                self.history.acknowledged = max(self.history.acknowledged, since)
            self.disk.fs.check()
        await self.finish(fh)

    async def one(self, fh: Fh, kind: str, at: int, data: bytes) -> Fh:
        disk, history = self.disk, self.history
        if kind == "append":
            kind, at = "write", len(history.now)
        if kind == "write":
            await disk.write(fh, at, data)
            history.write(at, data)
        elif kind == "truncate":
            await disk.fs.setattr(disk.fs.handles.file(fh).inode.ino, Changes(size=at), fh, ME)
            history.truncate(at)
        elif kind == "read":
            since = history.moment
            got = await disk.read(fh, at, 3 * PART)
            assert history.failed or history.could_read(since, at, 3 * PART, got), (at, got, history.now)
        elif kind == "fsync":
            await disk.fs.fsync(fh)
        else:
            await disk.close(fh)
            return await disk.create(PATH)
        return fh

    async def finish(self, fh: Fh) -> None:
        since = self.history.moment
        try:
            await self.disk.close(fh)
        except VfsError:
            self.history.failed = True
            return
        if not self.history.failed:
            self.history.acknowledged = max(self.history.acknowledged, since)


async def run(
    programs: list[Steps], store: FaultStore, ram_limit: int, arm: Callable[[], None] = lambda: None
) -> History:
    """All programs at once, on one file; then everything is given back. `arm` sets the store's faults."""
    history = History()
    async with mounted(store, part_size=PART, ram_limit=ram_limit, uploads=3, space_timeout=100.0) as disk:
        await disk.save(PATH, b"")
        player = Player(disk, history)
        handles = [await disk.open(PATH) for _ in programs]
        arm()
        async with trio.open_nursery() as nursery:
            for fh, steps in zip(handles, programs, strict=True):
                nursery.start_soon(player.play, fh, steps)
        store.clear()
        found = await disk.load(PATH) if await disk.find(PATH) else None
        if history.failed:
            assert found is None or history.was_whole(history.acknowledged, found)
        else:
            assert found == history.now
        await disk.unlink(PATH)
        disk.check_idle()
    memory = store.inner
    assert isinstance(memory, MemoryStore)
    assert memory.stored() == [key("memory/"), key("workspace/")], "debris"
    return history


latency = st.sampled_from([0.0, 0.5, 4.0])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(program, min_size=1, max_size=4), latency, st.sampled_from([4_000, 1 << 20]), st.integers(0, 99)
)
def test_contents_are_what_was_written(
    programs: list[Steps], seconds: float, ram_limit: int, seed: int
) -> None:
    async def main() -> None:
        memory = MemoryStore()
        store = FaultStore(memory, seed)
        store.slow(seconds=seconds, probability=0.7)
        await run(programs, store, ram_limit)
        assert not await memory.list_uploads("")

    simulate(main, seed)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(program, min_size=1, max_size=4),
    latency,
    st.sampled_from([4_000, 1 << 20]),
    st.integers(0, 99),
    st.sampled_from(["before", "after"]),
    st.sampled_from(["put", "upload_part", "complete_upload", "create_upload", "copy_part", "get", ".*"]),
)
def test_nothing_acknowledged_is_lost_when_the_store_fails(
    programs: list[Steps], seconds: float, ram_limit: int, seed: int, when: str, calls: str
) -> None:
    async def main() -> None:
        store = FaultStore(MemoryStore(), seed)
        store.slow(seconds=seconds, probability=0.7)
        fail = store.fail_before if when == "before" else store.fail_after_apply
        await run(
            programs, store, ram_limit, lambda: fail(calls, keys="workspace/f", count=3, probability=0.3)
        )

    simulate(main, seed)
