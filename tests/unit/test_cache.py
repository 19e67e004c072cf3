"""What is remembered of the store: one question for many askers, for a while, and never older than our own writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.fakes import FaultStore, MemoryStore
from vfs.config import Config
from vfs.errors import StoreUnavailable
from vfs.layout import Layout
from vfs.meta.attrs import Defaults, encode
from vfs.meta.cache import MetaCache
from vfs.meta.entry import Entry
from vfs.meta.memory import Known
from vfs.store.base import ObjectMeta
from vfs.store.metered import Metered
from vfs.types import ETag, Key

CONFIG = Config(Path("/mnt"), "u1", uid=1, gid=1, workspace_ttl=300, memory_ttl=600, negative_ttl=5)
FILE = "workspace/a"
DIRECTORY = "workspace/d"


@dataclass
class World:
    """A cache over a store that counts, delays and fails as told."""

    memory: MemoryStore
    faults: FaultStore
    metered: Metered
    cache: MetaCache
    layout: Layout

    async def put(self, path: str, data: bytes = b"", meta: ObjectMeta | None = None) -> None:
        """As another mount or program would."""
        await self.memory.put(Key(f"users/u1/{path}"), [data], meta or ObjectMeta())

    async def delete(self, path: str) -> None:
        await self.memory.delete(Key(f"users/u1/{path}"))

    @property
    def calls(self) -> int:
        return sum(call.ended for call in self.metered.statistics().calls.values())

    def keep_listing(self, path: str, names: dict[str, bool]) -> None:
        self.cache.keep_listing(path, names, self.cache.watch(path))


def make(**changes: object) -> World:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    memory, layout = MemoryStore(), Layout(config.user)
    faults = FaultStore(memory)
    metered = Metered(faults)
    return World(memory, faults, metered, MetaCache(metered, layout, config), layout)


@pytest.fixture
def world() -> World:
    return make()


def entry(*, directory: bool = False, size: int = 0) -> Entry:
    return Entry(Defaults.of(CONFIG).attr(directory=directory, size=size, time_ns=0), ETag("own"))


# -- asking ----------------------------------------------------------------------------------------------------


async def test_a_file(world: World) -> None:
    attr = replace(entry(size=3).attr, mode=0o100600, uid=7)
    await world.put(FILE, b"abc", encode(attr, "a", 2048))
    found = await world.cache.lookup(FILE)
    assert found is not None
    assert (found.attr.mode, found.attr.uid, found.attr.size) == (0o100600, 7, 3)
    assert found.etag == (await world.memory.head(world.layout.file_key(FILE))).etag


async def test_a_directory_is_a_marker_or_what_lies_under_it(world: World) -> None:
    await world.put("workspace/d/", meta=encode(replace(entry(directory=True).attr, mode=0o40700), "d", 2048))
    await world.put("workspace/implied/deep/f", b"x")
    marked = await world.cache.lookup(DIRECTORY)
    implied = await world.cache.lookup("workspace/implied")
    assert marked is not None
    assert implied is not None
    assert (marked.attr.mode, marked.marker) == (0o40700, True)
    assert (implied.attr.is_dir, implied.marker) == (True, False)


async def test_a_directory_hides_a_file_of_the_same_name(world: World) -> None:
    await world.put("workspace/x", b"data")
    await world.put("workspace/x/y", b"data")
    found = await world.cache.lookup("workspace/x")
    assert found is not None
    assert found.attr.is_dir


async def test_a_longer_name_does_not_make_a_directory(world: World) -> None:
    await world.put("workspace/abc/f", b"x")
    assert await world.cache.lookup("workspace/ab") is None


async def test_one_flight_for_many_askers(world: World, autojump_clock: MockClock) -> None:
    await world.put(FILE, b"abc")
    world.faults.slow(seconds=1)
    found: list[Entry | None] = []

    async def ask() -> None:
        found.append(await world.cache.lookup(FILE))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert len(found) == 50
    assert all(answer == found[0] and answer is not None for answer in found)
    assert world.calls == 2, "one for a file and one for a directory"
    assert trio.current_time() == pytest.approx(1), "both at once"
    assert (world.cache.statistics().misses, world.cache.statistics().hits) == (1, 49)


async def test_another_path_does_not_wait(world: World, autojump_clock: MockClock) -> None:
    await world.put(FILE, b"abc")
    world.faults.slow(seconds=100, keys="/slow")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.cache.lookup, "workspace/slow")
        assert await world.cache.lookup(FILE) is not None
        assert trio.current_time() < 1
        nursery.cancel_scope.cancel()


async def test_a_flight_that_fails_is_not_remembered(world: World) -> None:
    await world.put(FILE, b"abc")
    world.faults.fail_before("head")
    with pytest.raises(StoreUnavailable):
        await world.cache.lookup(FILE)
    assert await world.cache.lookup(FILE) is not None


async def test_who_waits_for_a_cancelled_flight_flies_itself(world: World, autojump_clock: MockClock) -> None:
    await world.put(FILE, b"abc")
    world.faults.slow(seconds=1)
    scope = trio.CancelScope()

    async def first() -> None:
        with scope:
            await world.cache.lookup(FILE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(world.cache.lookup, FILE)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert world.cache.peek(FILE) is not None


@pytest.mark.parametrize("marker", [True, False])
@pytest.mark.parametrize("directory", [True, False])
async def test_what_a_listing_showed_is_asked_for_alone(world: World, directory: bool, marker: bool) -> None:
    """A directory by its own object; what has none only has what lies under it."""
    await world.put(FILE, b"abc")
    await world.put("workspace/d/f", b"abc")
    if marker:
        await world.put("workspace/d/")
    path = DIRECTORY if directory else FILE
    found = await world.cache.lookup(path, directory)
    assert found is not None
    assert (found.attr.is_dir, found.marker) == (directory, marker or not directory)
    asked = {name: calls.ended for name, calls in world.metered.statistics().calls.items()}
    assert asked == ({"head": 1, "list": 1} if directory and not marker else {"head": 1})


async def test_a_known_listing_is_such_a_hint(world: World) -> None:
    await world.put(FILE, b"abc")
    world.keep_listing("workspace", {"a": False})
    assert await world.cache.lookup(FILE) is not None
    assert world.calls == 1


# -- for a while -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "ttl"), [(FILE, 300), ("memory/a", 600), ("memory", 600), ("memoryx", 300)])
async def test_attributes_hold_for_their_time(
    world: World, autojump_clock: MockClock, path: str, ttl: float
) -> None:
    await world.put(path, b"abc")
    await world.cache.lookup(path)
    await world.put(path, b"abcdef")
    asked = world.calls
    await trio.sleep(ttl - 1)
    old = await world.cache.lookup(path)
    assert old is not None
    assert (old.attr.size, world.calls) == (3, asked)
    await trio.sleep(2)
    new = await world.cache.lookup(path)
    assert new is not None
    assert (new.attr.size, world.calls) == (6, asked + 2)


async def test_absences_hold_for_less(world: World, autojump_clock: MockClock) -> None:
    assert await world.cache.lookup(FILE) is None
    await world.put(FILE, b"abc")
    asked = world.calls
    await trio.sleep(4)
    assert await world.cache.lookup(FILE) is None
    assert world.calls == asked
    await trio.sleep(2)
    assert await world.cache.lookup(FILE) is not None


async def test_a_complete_listing_answers_absences(world: World, autojump_clock: MockClock) -> None:
    world.keep_listing("workspace", {"other": False})
    assert await world.cache.lookup(FILE) is None
    assert world.calls == 0
    await world.put(FILE, b"abc")
    await trio.sleep(4)
    assert await world.cache.lookup(FILE) is None
    await trio.sleep(2)
    assert await world.cache.lookup(FILE) is not None


async def test_it_does_as_long_as_other_mounts_are_heard(world: World, autojump_clock: MockClock) -> None:
    world.cache.sharing.heard = True
    world.keep_listing("workspace", {"other": False})
    await world.put(FILE, b"abc")
    await trio.sleep(299)
    assert await world.cache.lookup(FILE) is None
    await trio.sleep(2)
    assert await world.cache.lookup(FILE) is not None


@pytest.mark.parametrize("ttl", range(1, 9))
async def test_what_expires_between_two_glances_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, ttl: int
) -> None:
    now = 0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    with monkeypatch.context() as patch:
        patch.setattr(trio, "current_time", clock)
        world = make(workspace_ttl=ttl)
    await world.put(FILE, b"abc")
    for _ in range(5):
        assert await world.cache.lookup(FILE) is not None


# -- own writes ------------------------------------------------------------------------------------------------


async def test_own_writes_are_known_at_once(world: World) -> None:
    assert await world.cache.lookup(FILE) is None
    world.keep_listing("workspace", {})
    asked = world.calls
    world.cache.put(FILE, entry(size=9))
    world.cache.put(DIRECTORY, entry(directory=True))
    assert await world.cache.lookup(FILE) == entry(size=9)
    assert world.cache.names("workspace") == {"a": False, "d": True}
    world.cache.drop(FILE)
    assert await world.cache.lookup(FILE) is None
    assert world.cache.names("workspace") == {"d": True}
    assert world.calls == asked


async def test_a_directory_that_was_made_is_empty(world: World) -> None:
    world.cache.created_directory(DIRECTORY, entry(directory=True))
    assert world.cache.names(DIRECTORY) == {}
    assert await world.cache.lookup(f"{DIRECTORY}/x") is None
    assert world.calls == 0
    world.cache.drop(DIRECTORY)
    assert world.cache.names(DIRECTORY) is None


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda cache: cache.put(FILE, entry(size=9)), entry(size=9)),
        (lambda cache: cache.drop(FILE), None),
    ],
    ids=["put", "drop"],
)
async def test_an_answer_that_was_under_way_does_not_overwrite(
    world: World, autojump_clock: MockClock, write: Callable[[MetaCache], None], expected: Entry | None
) -> None:
    await world.put(FILE, b"abc")
    world.faults.slow(seconds=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.cache.lookup, FILE)
        await trio.testing.wait_all_tasks_blocked()
        write(world.cache)
    asked = world.calls
    assert await world.cache.lookup(FILE) == expected
    assert world.calls == asked


async def test_what_began_before_a_write_is_not_kept(world: World) -> None:
    watch = world.cache.watch("workspace")
    world.cache.drop(FILE)
    world.cache.keep_listing("workspace", {"a": False}, watch)
    world.cache.keep(FILE, Known(entry(), watch.begun), watch)
    assert world.cache.names("workspace") == {}
    assert world.cache.peek(FILE) is None
    world.cache.keep("workspace/b", Known(entry(), watch.begun), watch)
    assert world.cache.peek("workspace/b") == entry(), "that one was not written"
    world.cache.forget("workspace")
    world.cache.keep("workspace/c", Known(entry(), watch.begun), watch)
    assert world.cache.peek("workspace/c") is None


async def test_writes_elsewhere_void_nothing(world: World, autojump_clock: MockClock) -> None:
    """A steady writer does not keep the mount from knowing what others look for."""
    await world.put(FILE, b"abc")
    watch = world.cache.watch("workspace")
    world.faults.slow(seconds=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.cache.lookup, FILE)
        await trio.testing.wait_all_tasks_blocked()
        world.cache.put("workspace/d/other", entry())
    assert world.cache.peek(FILE) is not None
    world.cache.keep_listing("workspace", {"a": False}, watch)
    assert world.cache.names("workspace") == {"a": False}


async def test_a_failure_is_told_to_all_who_wait(world: World, autojump_clock: MockClock) -> None:
    """Not one after the other: each would wait as long as the store takes to fail."""
    world.faults.slow(seconds=60)
    world.faults.fail_before("head|list")
    failures = []

    async def look() -> None:
        with pytest.raises(StoreUnavailable):
            await world.cache.lookup(FILE)
        failures.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(look)
    assert len(failures) == 10
    assert trio.current_time() - began < 61


async def test_forget_takes_all_below_and_the_listing_above(world: World) -> None:
    paths = ["workspace", DIRECTORY, f"{DIRECTORY}/x", f"{DIRECTORY}/x/y", "workspace/dx"]
    for path in paths:
        world.cache.put(path, entry(directory=True))
    for path in ("", *paths):
        world.keep_listing(path, {})
    world.cache.forget(DIRECTORY)
    assert [world.cache.peek(path) is None for path in paths] == [False, True, True, True, False]
    assert [world.cache.names(path) is None for path in paths] == [True, True, True, True, False]
    assert world.cache.names("") == {}


async def test_forget_voids_what_is_under_way(world: World, autojump_clock: MockClock) -> None:
    await world.put(FILE, b"abc")
    world.faults.slow(seconds=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.cache.lookup, FILE)
        await trio.testing.wait_all_tasks_blocked()
        world.cache.forget(FILE)
    assert world.calls == 4, "both questions once more"


# -- bounds ----------------------------------------------------------------------------------------------------


async def test_only_so_many_entries_are_kept() -> None:
    world = make(cache_entries=10)
    for number in range(50):
        world.cache.put(f"workspace/{number}", entry())
    assert world.cache.statistics().attributes == 10
    assert world.cache.peek("workspace/49") == entry()
    assert world.cache.peek("workspace/0") is None


async def test_a_listing_of_very_many_names_is_not_kept() -> None:
    world = make(cache_entries=40)
    world.keep_listing("workspace", dict.fromkeys(map(str, range(11)), False))
    assert world.cache.names("workspace") is None
    world.cache.created_directory(DIRECTORY, entry(directory=True))
    for number in range(10):
        world.cache.put(f"{DIRECTORY}/{number}", entry())
    assert len(world.cache.names(DIRECTORY) or ()) == 10
    world.cache.put(f"{DIRECTORY}/more", entry())
    assert world.cache.names(DIRECTORY) is None, "nor does one grow so far, file by file"
