"""Small files in the shared cache: asked for when one is read whole, and at no other time."""

from __future__ import annotations

import os

import pytest

from tests.unit.disk import key
from tests.unit.test_coherence import both, told, world
from vfs.store.base import ObjectMeta

LIMIT = 64 << 10


@pytest.mark.parametrize(
    ("size", "trips"), [(1, 1), (LIMIT, 1), (LIMIT + 1, 0), (512 << 10, 0), (3 << 20, 0)]
)
async def test_no_read_of_a_larger_file_asks_for_it(size: int, trips: int) -> None:
    async with world() as made:
        one, other = await both(made)
        await made.memory.put(key("workspace/f"), [b"x" * size], ObjectMeta())
        fh = await one.disk.open("workspace/f", os.O_RDONLY)
        before = one.trips
        for offset in (0, size // 2, 0):
            assert set(await one.disk.read(fh, offset, 4096)) == set(b"x")
        assert one.trips - before == trips
        await one.disk.close(fh)
        await told()
        asked, trips_of_other = other.asked()["get"], other.trips
        assert await other.disk.load("workspace/f") == b"x" * size
        assert (other.asked()["get"] == asked) == bool(trips)
        assert other.trips - trips_of_other <= 2, "its name, and its content if that did not come along"
