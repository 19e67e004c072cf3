"""What one mount tells the shared cache and asks of it.

Own changes are collected where they happen, in plain code, and published before the operation that made them
returns: many operations at once share a round trip. What the store said is filled in behind the program's back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import trio

from vfs.meta.alone import Alone
from vfs.meta.entry import Entry
from vfs.meta.memory import Known, wall
from vfs.meta.shared import Change, Kind, Record, SharedCache
from vfs.types import Key

Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

FILL_PAUSE = 0.02
"""Seconds for which what is to be filled in is collected: the files of a directory then go in one request."""

LONGEST_BATCH = 4096
"""Names filled in at once."""

CLOCKS = 5.0
"""Seconds by which the clocks of two mounts may differ."""


class Sharing:
    """Between `MetaCache`, which is synchronous where it can be, and a SharedCache, which answers over a network.

    `heard` is True while the changes of other mounts arrive.
    """

    def __init__(self, shared: SharedCache, spawn: Spawn | None = None) -> None:
        self.shared = shared
        self.heard = False
        self._spawn = spawn
        self._active = not isinstance(shared, Alone)
        self._pending: list[Change] = []
        self._publishing = trio.Lock()
        self._fills: dict[tuple[str, int], dict[str, Record]] = {}

    # -- own changes -----------------------------------------------------------------------------------------

    def note(self, change: Change) -> None:
        """To be published by whoever comes next."""
        if not self._active:
            return
        if not self._pending and self._spawn is not None:
            self._spawn(self._publish_later)  # for what is done behind the back of any program
        self._pending.append(change)

    async def publish(self) -> None:
        """Returns when everything noted before is published, by this call or by one under way."""
        if not self._pending and not self._publishing.locked():
            return
        async with self._publishing:
            if self._pending:
                changes, self._pending = self._pending, []
                done = False
                try:
                    await self.shared.publish(changes)
                    done = True
                finally:
                    if not done:  # cancelled: nobody knows how far it came
                        self._pending = [Change(Kind.ALL), *self._pending]

    async def _publish_later(self) -> None:
        await trio.sleep(FILL_PAUSE)
        await self.publish()

    # -- asking ----------------------------------------------------------------------------------------------

    async def name(
        self, path: str, key: Key, lifetime: Callable[[str, Entry | None], float]
    ) -> tuple[Known | None, int]:
        """What others know of a name, if it still holds, and what a `fill` of it has to say. `key`: its object."""
        if not self.heard:
            return None, -1
        await self.publish()  # the answer must not be older than what was done here
        record, version = await self.shared.name(path, key)
        return known(record, lifetime(path, record.entry)) if record else None, version

    async def folder(
        self, path: str, lifetime: Callable[[str, Entry | None], float], ttl: float
    ) -> tuple[dict[str, Known], float | None, int]:
        """What others know of the names in a directory; since when (trio's clock) that is all of them, or None."""
        if not self.heard:
            return {}, None, -1
        await self.publish()
        folder = await self.shared.folder(path)
        names: dict[str, Known] = {}
        for name, record in folder.names.items():
            found = known(record, lifetime(f"{path}/{name}", record.entry))
            if found is not None:
                names[name] = found
        whole = known(Record(None, folder.complete), ttl) if folder.complete else None
        present = sum(record.entry is not None for record in folder.names.values())
        if whole is None or sum(found.entry is not None for found in names.values()) < present:
            return names, None, folder.version
        return names, whole.at, folder.version

    # -- filling in ------------------------------------------------------------------------------------------

    def fill(self, path: str, entry: Entry | None, version: int) -> None:
        """The store said this of one name."""
        if version < 0 or self._spawn is None:
            return
        directory, _, name = path.rpartition("/")
        if not self._fills:
            self._spawn(self._fill)
        self._fills.setdefault((directory, version), {})[name] = Record(entry, time.time())

    def fill_folder(self, directory: str, entries: Mapping[str, Known], at: float, version: int) -> None:
        """The store listed these and no others, at that time of trio's clock."""
        if version < 0 or self._spawn is None:
            return
        complete = wall(at)
        names = {name: Record(known.entry, wall(known.at)) for name, known in entries.items()}
        self._spawn(lambda: self.shared.fill(directory, names, complete=complete, version=version))

    async def _fill(self) -> None:
        await trio.sleep(FILL_PAUSE)
        fills, self._fills = self._fills, {}
        for (directory, version), names in fills.items():
            batch = dict(list(names.items())[:LONGEST_BATCH])
            await self.shared.fill(directory, batch, complete=0.0, version=version)


def known(record: Record, lifetime: float) -> Known | None:
    """As this process knows it, if it is still to be believed. One of a clock that is far ahead would never age."""
    age = time.time() - record.at
    return Known(record.entry, trio.current_time() - max(0.0, age)) if -CLOCKS < age < lifetime else None
