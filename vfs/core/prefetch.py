"""Attributes asked for ahead: who looks at one name of a listed directory after another will look at the next.

A listing of S3 carries no attributes. `ls` needs none; `ls -l` and `find` ask for those of every name, one after the
other. After the second question the names that follow in the listing are asked for as well, in a window that doubles.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import trio

from vfs.core.background import Background
from vfs.core.inodes import Inode
from vfs.core.paths import Paths
from vfs.errors import StoreError
from vfs.meta.cache import MetaCache
from vfs.types import Ino

FIRST_WINDOW = 16
LONGEST_WINDOW = 512
"""Names."""

AT_ONCE = 32

DIRECTORIES = 64
"""Directories in which the questions are counted; the one that was not asked about for longest is forgotten."""


@dataclass(slots=True)
class _Course:
    """Questions in one directory: the window of the next task, and whether one is under way."""

    window: int = 0
    running: bool = False


class Prefetch:
    """One for the whole mount. What it learns goes into the cache; it makes no inodes."""

    def __init__(self, cache: MetaCache, paths: Paths, background: Background) -> None:
        self._cache = cache
        self._paths = paths
        self._background = background
        self._courses: OrderedDict[Ino, _Course] = OrderedDict()
        self._slots = trio.CapacityLimiter(AT_ONCE)

    def asked(self, directory: Inode, name: str) -> None:
        """A program wants the attributes of a name that are not known here."""
        path = directory.path()
        if self._cache.peek(f"{path}/{name}") is not None:
            return
        names = self._cache.names(path) or directory.listed
        if not names or name not in names:
            return
        course = self._courses.setdefault(directory.ino, _Course())
        self._courses.move_to_end(directory.ino)
        if len(self._courses) > DIRECTORIES:
            self._courses.popitem(last=False)
        if course.running:
            return
        if not course.window:
            course.window = FIRST_WINDOW
            return
        wanted = self._following(path, list(names), name, course.window)
        course.window = min(course.window * 2, LONGEST_WINDOW)
        if wanted:
            course.running = True
            self._background.spawn(lambda: self._ask(directory, path, wanted, course))

    def _following(self, path: str, names: list[str], name: str, window: int) -> list[str]:
        start = names.index(name) + 1
        found: list[str] = []
        for each in names[start:] + names[: start - 1]:
            if self._cache.peek(f"{path}/{each}") is None:
                found.append(each)
                if len(found) == window:
                    break
        return found

    async def _ask(self, directory: Inode, path: str, names: list[str], course: _Course) -> None:
        async def one(name: str) -> None:
            async with self._slots:
                try:
                    await self._cache.lookup(f"{path}/{name}", directory.listed.get(name))
                except StoreError:
                    return  # whoever really wants it asks again, and hears of it

        try:
            async with self._paths.pinned(directory):
                if directory.names and directory.path() == path:
                    async with trio.open_nursery() as nursery:
                        for name in names:
                            nursery.start_soon(one, name)
        finally:
            course.running = False
        self._cache.save_index(path, directory.listed or self._cache.names(path) or ())
