"""What is remembered is bounded, also while it grows."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from tests.unit.disk import config
from vfs.meta.entry import Entry
from vfs.meta.memory import Memory
from vfs.types import Attr, ETag

FILE = Entry(Attr(0o100644, 0, 0, 1, 0, 0, 0), ETag("e"))


async def test_listings_that_grow_stay_under_the_bound() -> None:
    memory = Memory(config(cache_entries=160))
    for number in range(100):
        memory.keep_listing(f"workspace/{number}", {})
    memory.check()
    for name in range(39):
        for number in range(100):
            memory.put(f"workspace/{number}/{name}", FILE)
        memory.check()
    memory.keep_listing("workspace/d", {})
    for name in range(39):
        memory.put(f"workspace/d/{name}", FILE)
        memory.keep_listing(f"workspace/{name}", {"f": False})
    assert len(memory.names("workspace/d") or ()) == 39, "who is written to is not pushed out"
    for name in range(39):
        memory.drop(f"workspace/d/{name}")
        memory.check()
    assert memory.names("workspace/d") == {}


async def test_one_that_outgrows_its_share_goes() -> None:
    memory = Memory(config(cache_entries=160))
    memory.keep_listing("workspace/d", {})
    for name in range(memory.most_names):
        memory.put(f"workspace/d/{name}", FILE)
    assert len(memory.names("workspace/d") or ()) == memory.most_names
    memory.put("workspace/d/0", FILE)
    assert memory.names("workspace/d") is not None
    memory.put("workspace/d/more", FILE)
    assert memory.names("workspace/d") is None
    memory.check()


async def test_a_listing_that_grows_is_no_younger(autojump_clock: MockClock) -> None:
    memory = Memory(config(workspace_ttl=100.0))
    memory.keep_listing("workspace/d", {})
    for name in range(9):
        await trio.sleep(10)
        memory.put(f"workspace/d/{name}", FILE)
    assert len(memory.names("workspace/d") or ()) == 9
    await trio.sleep(11)
    assert memory.names("workspace/d") is None
