"""Paths: keys in use stay, moves are alone, nobody waits in a circle or for ever."""

from __future__ import annotations

import random
import stat

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from vfs.core.inodes import Inode, InodeTable
from vfs.core.paths import Paths
from vfs.errors import StoreTimeout
from vfs.types import Attr, ETag

DIRECTORY = Attr(stat.S_IFDIR | 0o755, 0, 0, 0, 0, 0, 0)
FILE = Attr(stat.S_IFREG | 0o644, 0, 0, 0, 0, 0, 0)
TIMEOUT = 10.0


class Tree:
    """workspace/{a/{f,g},b/h}, all known to the kernel, and the paths in it."""

    def __init__(self) -> None:
        self.table = InodeTable(DIRECTORY)
        self.paths = Paths(self.table, TIMEOUT)
        self.work = self.add(self.table.root, "workspace", DIRECTORY)
        self.a = self.add(self.work, "a", DIRECTORY)
        self.b = self.add(self.work, "b", DIRECTORY)
        self.f = self.add(self.a, "f", FILE)
        self.g = self.add(self.a, "g", FILE)
        self.h = self.add(self.b, "h", FILE)

    def add(self, parent: Inode, name: str, attr: Attr) -> Inode:
        return self.table.remember(self.table.add(parent, name, attr, ETag("e")))

    def check_idle(self) -> None:
        self.table.check()
        for inode in self.table:
            assert inode.pins == 0, inode
            assert not inode.moving, inode


@pytest.fixture
def tree() -> Tree:
    return Tree()


class Holder:
    """A task that pins or moves, until it is told to stop."""

    def __init__(self, nursery: trio.Nursery, tree: Tree, movers: tuple[Inode, ...], *pinned: Inode) -> None:
        self.held = False
        self._done = trio.Event()
        self._tree = tree
        nursery.start_soon(self._run, movers, pinned)

    async def _run(self, movers: tuple[Inode, ...], pinned: tuple[Inode, ...]) -> None:
        paths = self._tree.paths
        async with paths.moving(movers, *pinned) if movers else paths.pinned(*pinned):
            self.held = True
            await self._done.wait()
        self.held = False

    async def stop(self) -> None:
        self._done.set()
        await trio.testing.wait_all_tasks_blocked()


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_pins_count_upwards_and_go_away(tree: Tree) -> None:
    async with tree.paths.pinned(tree.f), tree.paths.pinned(tree.f, tree.h):
        assert (tree.f.pins, tree.g.pins, tree.h.pins) == (2, 0, 1)
        assert (tree.a.pins, tree.b.pins, tree.work.pins) == (2, 1, 3)
    tree.check_idle()


async def test_a_move_waits_for_pins_on_what_lies_below(tree: Tree, nursery: trio.Nursery) -> None:
    pin = Holder(nursery, tree, (), tree.f)
    await settled()
    move = Holder(nursery, tree, (tree.a,))
    other = Holder(nursery, tree, (tree.b,))
    await settled()
    assert (pin.held, move.held, other.held) == (True, False, True)
    await pin.stop()
    assert move.held
    await move.stop()
    await other.stop()
    tree.check_idle()


async def test_a_pin_waits_for_a_move_above_but_not_beside(tree: Tree, nursery: trio.Nursery) -> None:
    move = Holder(nursery, tree, (tree.a,))
    await settled()
    below, beside = Holder(nursery, tree, (), tree.f), Holder(nursery, tree, (), tree.h)
    above = Holder(nursery, tree, (), tree.work)
    await settled()
    assert (below.held, beside.held, above.held) == (False, True, True)
    await move.stop()
    assert below.held
    for holder in (below, beside, above):
        await holder.stop()
    tree.check_idle()


async def test_a_move_keeps_its_parents_still(tree: Tree, nursery: trio.Nursery) -> None:
    inner = Holder(nursery, tree, (tree.f,), tree.b)
    await settled()
    source, target = Holder(nursery, tree, (tree.a,)), Holder(nursery, tree, (tree.b,))
    await settled()
    assert (source.held, target.held) == (False, False)
    await inner.stop()
    assert (source.held, target.held) == (True, True)
    await source.stop()
    await target.stop()
    tree.check_idle()


async def test_nothing_is_held_while_waiting(tree: Tree, nursery: trio.Nursery) -> None:
    pin = Holder(nursery, tree, (), tree.f)
    await settled()
    waiting = Holder(nursery, tree, (tree.f, tree.h), tree.g)
    await settled()
    assert not waiting.held
    assert (tree.h.moving, tree.h.pins, tree.g.pins) == (False, 0, 0)
    free = Holder(nursery, tree, (tree.h, tree.g))
    await settled()
    assert free.held, "what another only waits for is free"
    await free.stop()
    await pin.stop()
    assert waiting.held
    await waiting.stop()
    tree.check_idle()


async def test_the_same_mover_twice_is_one(tree: Tree) -> None:
    async with tree.paths.moving((tree.f, tree.f)):
        assert tree.f.moving
    tree.check_idle()


async def test_a_file_with_two_names_holds_both_parents(tree: Tree, nursery: trio.Nursery) -> None:
    tree.table.link(tree.f, tree.b, "f2", ETag("e"))
    pin = Holder(nursery, tree, (), tree.f)
    await settled()
    move = Holder(nursery, tree, (tree.b,))
    await settled()
    assert not move.held
    await pin.stop()
    assert move.held
    await move.stop()
    tree.check_idle()


# -- the deadline ----------------------------------------------------------------------------------------------


async def test_a_wait_ends_at_the_deadline(tree: Tree, autojump_clock: trio.testing.MockClock) -> None:
    async with tree.paths.moving((tree.a,)):
        began = trio.current_time()
        with pytest.raises(StoreTimeout, match="10 s"):
            async with tree.paths.pinned(tree.f):
                pytest.fail("held")
        assert trio.current_time() - began == pytest.approx(TIMEOUT)
    tree.check_idle()


async def test_others_do_not_push_the_deadline_back(
    tree: Tree, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def traffic() -> None:
        while True:
            async with tree.paths.pinned(tree.h):
                await trio.sleep(1)

    nursery.start_soon(traffic)
    async with tree.paths.pinned(tree.f):
        began = trio.current_time()
        with trio.fail_after(3 * TIMEOUT), pytest.raises(StoreTimeout):
            async with tree.paths.moving((tree.a,)):
                pytest.fail("held")
        assert trio.current_time() - began == pytest.approx(TIMEOUT)
    nursery.cancel_scope.cancel()


async def test_who_is_cancelled_while_waiting_holds_nothing(tree: Tree) -> None:
    async with tree.paths.pinned(tree.f):
        with trio.move_on_after(0):
            async with tree.paths.moving((tree.a, tree.b)):
                pytest.fail("held")
        assert not tree.b.moving
    tree.check_idle()


async def test_an_error_inside_lets_go(tree: Tree) -> None:
    with pytest.raises(ZeroDivisionError):
        async with tree.paths.moving((tree.a,), tree.b):
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        async with tree.paths.pinned(tree.f):
            raise ZeroDivisionError
    tree.check_idle()


# -- reaping ---------------------------------------------------------------------------------------------------


async def test_what_the_kernel_forgot_stays_until_it_is_unpinned(tree: Tree) -> None:
    async with tree.paths.pinned(tree.f):
        tree.table.forget(tree.f.ino, 1)
        tree.table.forget(tree.g.ino, 1)
        tree.table.forget(tree.a.ino, 1)
        assert tree.f in list(tree.table)
        assert tree.g not in list(tree.table)
    assert not {tree.f, tree.a} & set(tree.table), "and the directory that was kept for its sake goes too"
    tree.check_idle()


async def test_what_was_removed_while_it_moved_is_reaped(tree: Tree) -> None:
    async with tree.paths.moving((tree.h,)):
        tree.table.forget(tree.h.ino, 1)
        assert tree.h in list(tree.table)
        tree.table.unlink(tree.b, "h")
    assert tree.h not in list(tree.table)
    tree.check_idle()


# -- any schedule ----------------------------------------------------------------------------------------------

schedules = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abfgh"), max_size=2),
        st.lists(st.sampled_from("abfgh"), min_size=1, max_size=2),
        st.integers(0, 4),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(schedules, st.integers(0, 1000))
def test_any_schedule_ends_and_moves_are_exclusive(
    schedule: list[tuple[list[str], list[str], int]], seed: int
) -> None:
    chance = random.Random(seed)
    tree = Tree()
    using: list[tuple[set[Inode], set[Inode]]] = []

    def above(inodes: list[Inode]) -> set[Inode]:
        return {node for inode in inodes for node in inode.ancestry()}

    async def operation(moved: list[Inode], pinned: list[Inode], steps: int) -> None:
        for _ in range(chance.randrange(4)):
            await trio.lowlevel.checkpoint()
        async with tree.paths.moving(tuple(moved), *pinned) if moved else tree.paths.pinned(*pinned):
            mine = (set(moved), above([*moved, *pinned]))
            for movers, paths in using:
                assert not movers & mine[1]
                assert not mine[0] & paths
            using.append(mine)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            using.remove(mine)

    async def run() -> None:
        with trio.fail_after(TIMEOUT / 2):
            async with trio.open_nursery() as nursery:
                for moved, pinned, steps in schedule:
                    nursery.start_soon(
                        operation,
                        [getattr(tree, n) for n in moved],
                        [getattr(tree, n) for n in pinned],
                        steps,
                    )

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert not using
    tree.check_idle()
