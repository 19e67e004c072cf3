"""Directories page by page: every name once, nothing that a directory cannot show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from vfs.config import Config
from vfs.layout import Layout
from vfs.meta.attrs import Defaults
from vfs.meta.cache import MetaCache
from vfs.meta.entry import Entry
from vfs.meta.listing import Listed, Listing
from vfs.store.base import Capabilities, ListPage, ObjectMeta
from vfs.store.metered import Metered
from vfs.types import ETag, Key

CONFIG = Config(Path("/mnt"), "u1", uid=1, gid=1)
DIRECTORY = "workspace/d"


class SmallPages(MemoryStore):
    """Three names a page, whatever is asked for: a store may always give fewer."""

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        return await super().list(prefix, delimiter=delimiter, token=token, limit=min(limit, 3))


class World:
    def __init__(self, capabilities: Capabilities = S3_LIKE) -> None:
        self.memory = SmallPages(capabilities)
        self.faults = FaultStore(self.memory)
        self.metered = Metered(self.faults)
        self.layout = Layout(CONFIG.user)
        self.cache = MetaCache(self.metered, self.layout, CONFIG)

    async def fill(self, *names: str) -> None:
        for name in names:
            await self.memory.put(Key(f"users/u1/{DIRECTORY}/{name}"), [b"abc"], ObjectMeta())

    def listing(self) -> Listing:
        return Listing(self.metered, self.layout, self.cache, DIRECTORY)

    @property
    def calls(self) -> int:
        return sum(call.ended for call in self.metered.statistics().calls.values())


@pytest.fixture
def world() -> World:
    return World()


async def everything(listing: Listing) -> dict[str, Listed]:
    found: dict[str, Listed] = {}
    while not listing.done:
        page = await listing.page()
        assert not found.keys() & page.keys(), "every name once"
        found.update(page)
    return found


def kinds(found: dict[str, Listed]) -> dict[str, bool]:
    return {name: listed.directory for name, listed in found.items()}


async def test_files_and_directories(world: World) -> None:
    await world.fill("", "a", "b/", "c/deep/f", "naïve.txt")
    found = await everything(world.listing())
    assert kinds(found) == {"a": False, "b": True, "c": True, "naïve.txt": False}
    assert all(listed.entry is None for listed in found.values()), "S3 lists no metadata"


async def test_nothing_is_an_empty_directory(world: World) -> None:
    assert await everything(world.listing()) == {}
    assert world.cache.names(DIRECTORY) == {}


async def test_pages_come_one_by_one_in_order(world: World) -> None:
    names = [f"{number:02}" for number in range(10)]
    await world.fill(*names)
    listing = world.listing()
    assert list(await listing.page()) == names[:3]
    assert not listing.done
    assert world.calls == 1
    assert world.cache.names(DIRECTORY) is None, "an unfinished listing answers no absences"
    assert list(await everything(listing)) == names[3:]
    assert world.calls == 4


async def test_a_complete_listing_is_remembered(world: World) -> None:
    await world.fill("a", "b/", "c", "d", "e")
    first = await everything(world.listing())
    asked = world.calls
    assert kinds(await everything(world.listing())) == kinds(first)
    assert await world.cache.lookup(f"{DIRECTORY}/absent") is None
    assert world.calls == asked


async def test_a_complete_listing_says_what_to_ask_for(world: World) -> None:
    await world.fill("a", "b/")
    await everything(world.listing())
    asked = world.metered.statistics().calls["list"].ended
    found = await world.cache.lookup(f"{DIRECTORY}/a")
    assert found is not None
    calls = world.metered.statistics().calls
    assert (calls["list"].ended, calls["head"].ended) == (asked, 1)


async def test_attributes_come_along_where_the_store_lists_them() -> None:
    world = World(replace(S3_LIKE, list_metadata=True))
    await world.fill("a", "b/")
    found = await everything(world.listing())
    assert found["a"].entry is not None
    assert found["a"].entry.attr.size == 3
    asked = world.calls
    assert await world.cache.lookup(f"{DIRECTORY}/a") == found["a"].entry
    assert world.calls == asked


@pytest.mark.parametrize(
    "key", ["..", ".", "../x", "./x", "/x", "a\0b", "a\0b/x", "x" * 256, "ï" * 128 + "/f"]
)
async def test_foreign_keys_that_are_no_names_are_skipped(world: World, key: str) -> None:
    await world.fill("good", key)
    assert kinds(await everything(world.listing())) == {"good": False}


async def test_pages_of_such_keys_alone_are_empty_but_not_the_end(world: World) -> None:
    await world.fill("\0a", "\0b", "\0c", "\0d", "good")
    listing = world.listing()
    assert await listing.page() == {}
    assert not listing.done
    assert kinds(await everything(listing)) == {"good": False}


async def test_a_directory_hides_a_file_of_the_same_name(world: World) -> None:
    await world.fill("x", "x/y")
    assert kinds(await everything(world.listing())) == {"x": True}


async def test_a_name_on_two_pages_is_shown_once(world: World) -> None:
    await world.fill("x", "x-1", "x-2", "x-3", "x/y")
    assert sorted(await everything(world.listing())) == ["x", "x-1", "x-2", "x-3"]


# -- own writes meanwhile --------------------------------------------------------------------------------------


def own() -> Entry:
    return Entry(Defaults.of(CONFIG).attr(directory=False, size=9, time_ns=0), ETag("own"))


async def test_what_this_mount_wrote_meanwhile_is_remembered_with_a_listing(world: World) -> None:
    await world.fill("a", "b", "c", "d")
    listing = world.listing()
    await listing.page()
    world.cache.put(f"{DIRECTORY}/0", own())
    world.cache.drop(f"{DIRECTORY}/d")
    await everything(listing)
    assert listing.done
    assert world.cache.names(DIRECTORY) == {"0": False, "a": False, "b": False, "c": False}


async def test_a_listing_is_not_remembered_when_it_is_forgotten_what_was_written(world: World) -> None:
    await world.fill("a", "b", "c", "d")
    listing = world.listing()
    await listing.page()
    world.cache.put(f"{DIRECTORY}/0", own())
    world.cache.memory.discard(f"{DIRECTORY}/0")
    await everything(listing)
    assert world.cache.names(DIRECTORY) is None


async def test_a_listing_does_not_overwrite_own_attributes(autojump_clock: trio.testing.MockClock) -> None:
    world = World(replace(S3_LIKE, list_metadata=True))
    await world.fill("a")
    world.faults.slow(seconds=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.listing().page)
        await trio.testing.wait_all_tasks_blocked()
        world.cache.put(f"{DIRECTORY}/a", own())
    assert world.cache.peek(f"{DIRECTORY}/a") == own()


async def test_a_listing_ends_although_the_cache_learns_meanwhile(world: World) -> None:
    names = [f"{number:02}" for number in range(7)]
    await world.fill(*names)
    one, other = world.listing(), world.listing()
    first = await one.page()
    await everything(other)
    assert list(first) + list(await everything(one)) == names
