"""Names that are not there: asked for all at once, by listing their directory again.

What a complete listing lacks is known to be absent, while other mounts are heard. While they are not, that is
believed for `negative_ttl` only, as any absence. Programs look for many names that are not there (`git status`,
`import`, and whoever creates files), so the listing is renewed: one request for each 1,000 names, not two for each
that is missing. A listing of many pages is renewed when as much has been asked one by one as it costs
(decisions/0013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio
from cachetools import LRUCache

from vfs.core.inodes import Inode
from vfs.layout import Layout
from vfs.meta.cache import MetaCache
from vfs.meta.listing import Listing
from vfs.store.base import ObjectStore

PAGE = 1000
"""Names that one request lists."""

QUESTION = 2
"""Requests that one name costs: is it a file, is it a directory?"""

PATIENCE = 60
"""A listing that took too long to be of use is tried again after so many times what it took."""

DIRECTORIES = 1024
"""Directories whose questions are counted; the one that was not asked about for longest is forgotten."""


@dataclass(slots=True)
class _Count:
    """Of one directory."""

    questions: int = 0
    """Since it was listed last."""
    listed: float = -math.inf
    """When that ended, by trio's clock."""
    seconds: float = 0.0
    """What it took."""
    running: trio.Event | None = None
    """Set when the listing that is under way has ended."""


class Absences:
    """One for the whole mount."""

    def __init__(self, store: ObjectStore, layout: Layout, cache: MetaCache) -> None:
        self._store = store
        self._layout = layout
        self._cache = cache
        self._counts: LRUCache[str, _Count] = LRUCache(DIRECTORIES)

    async def renew(self, directory: Inode, name: str) -> None:
        """Before a name is asked for of which nothing is known: lists its directory, if that tells more for less.

        The caller pins the directory. Raises StoreError, as the question would.
        """
        path, cache = directory.path(), self._cache
        names = cache.names(path)
        if not cache.absent_age or names is None or name in names or cache.known(f"{path}/{name}"):
            return
        count = self._counts.setdefault(path, _Count())
        if count.running is not None:
            await count.running.wait()
            return
        count.questions += 1
        pages = -(-len(names) // PAGE) or 1
        begun = trio.current_time()
        if begun < count.listed + cache.absent_age or count.questions * QUESTION < pages:
            return
        if count.seconds > cache.absent_age and begun < count.listed + PATIENCE * count.seconds:
            return  # what it tells is too old when it ends
        count.running = trio.Event()
        try:
            await self._list(path)
        finally:
            count.questions, count.listed = 0, trio.current_time()
            count.seconds = count.listed - begun
            count.running.set()
            count.running = None

    async def _list(self, path: str) -> None:
        listing = Listing(self._store, self._layout, self._cache, path)
        while not listing.done:
            await listing.page(attributes=False)
