"""Two mounts that share a cache do random things in turn, and both must show what a plain tree has.

Without a kernel, on the fakes, in simulated time: the cache forgets, loses news, and goes away for a while.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.core import given
from trio.testing import wait_all_tasks_blocked

from tests.fakes import S3_LIKE, MemoryStore
from tests.memory_shared import MemoryServer, MemoryShared
from tests.model.plain_tree import Node, PlainTree
from tests.model.test_model import LONG
from tests.unit.disk import Disk, mounted
from tests.unit.simulation import simulate
from vfs.errors import Exists, InvalidArgument, IsDirectory, NotDirectory, NotEmpty, VfsError
from vfs.meta.sharing import FILL_PAUSE

TOP = "workspace"
EXAMPLES = 3000 if LONG else 100

name = st.sampled_from(("a", "b", "c"))
path = st.lists(name, min_size=1, max_size=3).map("/".join)
data = st.binary(max_size=6)
mode = st.sampled_from((0o600, 0o644, 0o755, 0o444))
pause = st.sampled_from((0.0, 0.0, 0.0, 1.0, 6.0, 400.0))

change = st.one_of(
    st.tuples(st.just("save"), path, data),
    st.tuples(st.just("save"), path, data),
    st.tuples(st.just("append"), path, data),
    st.tuples(st.just("chmod"), path, mode),
    st.tuples(st.just("mkdir"), path),
    st.tuples(st.just("mkdir"), path),
    st.tuples(st.just("unlink"), path),
    st.tuples(st.just("rmdir"), path),
    st.tuples(st.just("rename"), path, path),
)
Change = tuple[Any, ...]
turn = st.tuples(st.integers(0, 1), change, pause)
mishap = st.sampled_from(("", "", "", "", "forget", "lose_feed", "kernel forgets"))
Turn = tuple[int, Change, float]


class Hand:
    """One mount, used as the kernel does: it refuses what makes no sense before the file system hears of it."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    async def do(self, change: Change) -> bool:
        """Whether it could be done."""
        what, *arguments = change
        try:
            await getattr(self, what)(*arguments)
        except VfsError:
            return False
        return True

    async def save(self, path: str, data: bytes) -> None:
        await self.disk.save(f"{TOP}/{path}", data)

    async def append(self, path: str, data: bytes) -> None:
        fh = await self.disk.create(f"{TOP}/{path}")
        try:
            size = (await self.disk.stat(f"{TOP}/{path}")).attr.size
            await self.disk.write(fh, size, data)
        finally:
            await self.disk.close(fh)

    async def chmod(self, path: str, mode: int) -> None:
        await self.disk.change(f"{TOP}/{path}", mode=mode)

    async def mkdir(self, path: str) -> None:
        if await self.disk.find(f"{TOP}/{path}") is not None:
            raise Exists(path)
        await self.disk.mkdir(f"{TOP}/{path}")

    async def unlink(self, path: str) -> None:
        if (await self.disk.walk(f"{TOP}/{path}")).attr.is_dir:
            raise IsDirectory(path)
        await self.disk.unlink(f"{TOP}/{path}")

    async def rmdir(self, path: str) -> None:
        if not (await self.disk.walk(f"{TOP}/{path}")).attr.is_dir:
            raise NotDirectory(path)
        await self.disk.rmdir(f"{TOP}/{path}")

    async def rename(self, old: str, new: str) -> None:
        source, target = await self.disk.walk(f"{TOP}/{old}"), await self.disk.find(f"{TOP}/{new}")
        if new.startswith(f"{old}/"):
            raise InvalidArgument(new)
        if target is not None and target is not source:
            if target.attr.is_dir != source.attr.is_dir:
                raise NotDirectory(new) if source.attr.is_dir else IsDirectory(new)
            if old.startswith(f"{new}/"):
                raise NotEmpty(new)
        if target is not source:
            await self.disk.rename(f"{TOP}/{old}", f"{TOP}/{new}")

    async def picture(self) -> dict[str, Node]:
        """What it shows, read anew: names and modes, and the bytes of files that are opened for it."""
        found = {"": Node()}
        for path in await self.disk.tree(TOP):
            attr = (await self.disk.stat(path)).attr
            content = None if attr.is_dir else await self.disk.load(path)
            assert content is None or len(content) == attr.size
            found[path[len(TOP) + 1 :]] = Node(content, attr.mode & 0o7777)
        return found


class Pair:
    """Two mounts, the server of their cache, and what they must show."""

    def __init__(self, server: MemoryServer, hands: list[Hand]) -> None:
        self.server = server
        self.hands = hands
        self.tree = PlainTree()

    async def do(self, who: int, change: Change) -> None:
        expected = getattr(self.tree, change[0])(*change[1:])
        assert await self.hands[who].do(change) == expected, f"{who}: {change}"

    async def compare(self, *who: int) -> None:
        for number in who or (0, 1):
            assert await self.hands[number].picture() == self.tree.nodes, f"mount {number}"

    def mishap(self, what: str) -> None:
        if what == "kernel forgets":
            for hand in self.hands:
                hand.disk.forget_all()
        elif what:
            getattr(self.server, what)()


@asynccontextmanager
async def pair(**changes: Any) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        store, server = MemoryStore(S3_LIKE), MemoryServer()
        hands = []
        for _ in range(2):
            disk = await stack.enter_async_context(
                mounted(store, MemoryShared(server, time.time()), **changes)
            )
            hands.append(Hand(disk))
        await wait_all_tasks_blocked()
        made = Pair(server, hands)
        yield made
        made.server.set_away(False)
        await told()
        await made.compare()
        async with mounted(store) as disk:
            assert await Hand(disk).picture() == made.tree.nodes, "a mount that knows nothing"
        for hand in hands:
            await hand.disk.fs.drain()  # a directory whose times are to be stored stays, and all above it
            hand.disk.check_idle()


async def told() -> None:
    await trio.sleep(3 * FILL_PAUSE)
    await wait_all_tasks_blocked()


def profile(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    )


def run(main: Callable[[], Awaitable[None]]) -> None:
    simulate(main)


@profile(EXAMPLES)
@given(st.lists(st.tuples(turn, mishap), min_size=1, max_size=30))
@pytest.mark.timeout(3600 if LONG else 120)
def test_what_one_closed_the_other_sees(turns: list[tuple[Turn, str]]) -> None:
    """With times to live of minutes: it is the news that makes it so."""

    async def main() -> None:
        async with pair() as two:
            for (who, change, seconds), what in turns:
                await two.do(who, change)
                await two.compare(who)
                two.mishap(what)
                await told()
                await trio.sleep(seconds)
                await two.compare()

    run(main)


@profile(EXAMPLES)
@given(
    st.lists(st.tuples(turn, st.sampled_from(("", "", "away", "back", "forget"))), min_size=1, max_size=30)
)
@pytest.mark.timeout(3600 if LONG else 120)
def test_without_the_cache_the_store_tells(turns: list[tuple[Turn, str]]) -> None:
    """The cache comes and goes; what is known is never believed for long."""

    async def main() -> None:
        async with pair(revalidate=0.0, workspace_ttl=0.5, negative_ttl=0.5) as two:
            for (who, change, seconds), what in turns:
                if what in ("away", "back"):
                    two.server.set_away(what == "away")
                else:
                    two.mishap(what)
                await two.do(who, change)
                await trio.sleep(1.0 + seconds)
                await two.compare()

    run(main)


@profile(EXAMPLES)
@given(
    st.lists(st.tuples(turn, st.sampled_from(("", "", "away", "back", "forget"))), min_size=1, max_size=30)
)
@pytest.mark.timeout(3600 if LONG else 120)
def test_what_was_done_without_the_cache_is_made_good(turns: list[tuple[Turn, str]]) -> None:
    """One mount is at work while it is away; when it is back, both know at once, with times to live of minutes."""

    async def main() -> None:
        async with pair() as two:
            alone: int | None = None
            for (who, change, seconds), what in turns:
                if what == "away" and alone is None:
                    alone = who
                    two.server.set_away(True)
                elif what == "back":
                    alone = None
                    two.server.set_away(False)
                    await told()
                elif what == "forget":
                    two.mishap(what)
                    await told()
                await two.do(who if alone is None else alone, change)
                await trio.sleep(seconds)
                await told()
                await two.compare(*([] if alone is None else [alone]))

    run(main)
