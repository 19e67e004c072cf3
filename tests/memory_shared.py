"""A SharedCache in RAM: several mounts share one `MemoryServer`. Passes tests/contract/test_shared_*.py.

What the tests of other parts set on the server: `away` (nothing answers), `forget()` (FLUSHALL), `lose_feed()`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import trio

from vfs.meta.shared import Change, Folder, Kind, Listener, Record, SharedStatistics
from vfs.types import ETag, Key

CONTENT_SIZE = 64 << 10
CONTENTS = 1024
"""Kept at once."""


@dataclass
class _Directory:
    version: int
    complete: float = 0.0
    names: dict[str, Record | None] = field(default_factory=dict)
    """None: not known, in a directory of which all others are."""


class MemoryServer:
    """What all mounts of one user know together."""

    def __init__(self) -> None:
        self.away = False
        self.directories: dict[str, _Directory] = {}
        self.contents: dict[tuple[Key, ETag], bytes] = {}
        self.mounts: list[MemoryShared] = []
        self.changed = trio.Event()
        self.numbers = itertools.count(1)

    def set_away(self, away: bool) -> None:
        self.away = away
        self.wake()

    def forget(self) -> None:
        """As FLUSHALL: nothing is known, and all mounts hear of it."""
        self.directories.clear()
        self.contents.clear()
        self.lose_feed()

    def lose_feed(self) -> None:
        """What was not heard yet is lost."""
        for mount in self.mounts:
            mount.inbox = [Change(Kind.ALL)]
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def begun(self, path: str) -> _Directory:
        """The directory; one that is not known gets a version that was never there before."""
        if path not in self.directories:
            self.directories[path] = _Directory(next(self.numbers))
        return self.directories[path]

    def apply(self, change: Change, at: float) -> None:
        directory, _, name = change.path.rpartition("/")
        if change.kind is Kind.ALL or not change.path:
            self.directories.clear()
            return
        if change.kind is Kind.TREE:
            for path in [path for path in self.directories if f"{path}/".startswith(f"{change.path}/")]:
                del self.directories[path]
        if change.kind is Kind.DROP:
            self.directories.pop(change.path, None)
        if change.kind is Kind.DROP and directory not in self.directories:
            return
        folder = self.begun(directory)
        folder.version = next(self.numbers)
        if change.kind is Kind.DROP:
            folder.names.pop(name, None)
        else:
            folder.names[name] = Record(change.entry, at) if change.kind is Kind.PUT else None


class MemoryShared:
    """One mount's. `clock` gives the time of records that are published."""

    def __init__(self, server: MemoryServer, clock: float = 1e9) -> None:
        self.server = server
        self.clock = clock
        self.inbox: list[Change] = []
        self.owes = False
        self.origin = f"mount {next(server.numbers)}"
        self.ahead: dict[tuple[Key, ETag], bytes] = {}
        """Contents that came along with names."""
        self._numbers = SharedStatistics()
        server.mounts.append(self)

    def statistics(self) -> SharedStatistics:
        state = "away" if self.server.away else "connected"
        return replace(self._numbers, state=state, cause="told to be away" if self.server.away else "")

    async def folder(self, path: str) -> Folder:
        if not await self._reached():
            return Folder()
        directory = self.server.begun(path)
        names = {name: record for name, record in directory.names.items() if record is not None}
        whole = len(names) == len(directory.names)
        complete = directory.complete if whole else 0.0
        self._count(bool(complete))
        return Folder(names, complete, directory.version)

    async def name(self, path: str, key: Key) -> tuple[Record | None, int]:
        if not await self._reached():
            return None, -1
        directory, _, name = path.rpartition("/")
        record = self._record(directory, name)
        self._count(record is not None)
        entry = record.entry if record else None
        if entry is not None and (key, entry.etag) in self.server.contents:
            self.ahead[key, entry.etag] = self.server.contents[key, entry.etag]
        return record, self.server.begun(directory).version

    async def names(self, paths: Sequence[str]) -> Mapping[str, Record]:
        found: dict[str, Record] = {}
        if paths and await self._reached():
            for path in paths:
                directory, _, name = path.rpartition("/")
                record = self._record(directory, name) if directory in self.server.directories else None
                if record is not None:
                    found[path] = record
                self._count(record is not None)
        return found

    async def fill(
        self, directory: str, names: Mapping[str, Record], *, complete: float, version: int
    ) -> None:
        if version < 0 or not await self._reached():
            return
        known = self.server.directories.get(directory)
        if known is None or known.version != version:
            return
        if complete:
            known.names = dict(names)
            known.complete = complete
        else:
            known.names.update(names)

    async def publish(self, changes: Sequence[Change]) -> None:
        if not await self._reached():
            self.owes = True
            return
        for change in changes:
            self.server.apply(change, self.clock)
        for mount in self.server.mounts:
            if mount is not self:
                mount.inbox += [replace(change, below=(), origin=self.origin) for change in changes]
        self._numbers = replace(self._numbers, published=self._numbers.published + len(changes))
        self.server.wake()

    async def content(self, key: Key, etag: ETag) -> bytes | None:
        data = self.ahead.pop((key, etag), None)
        if data is None and await self._reached():
            data = self.server.contents.get((key, etag))
        self._count(data is not None)
        return data

    async def keep_content(self, key: Key, etag: ETag, data: bytes) -> None:
        if len(data) <= CONTENT_SIZE and await self._reached():
            self.server.contents[key, etag] = data
            while len(self.server.contents) > CONTENTS:
                del self.server.contents[next(iter(self.server.contents))]

    async def run(self, listener: Listener) -> None:
        alive = False
        while True:
            changed = self.server.changed
            if not self.server.away:
                self._pay()
                changes, self.inbox = self.inbox, []
                if changes:
                    self._numbers = replace(self._numbers, received=self._numbers.received + len(changes))
                    listener.changed(changes)
            if alive == self.server.away:
                alive = not alive
                listener.connected(alive)
            await changed.wait()

    async def aclose(self) -> None:
        if not self.server.away:
            self._pay()
        if self in self.server.mounts:
            self.server.mounts.remove(self)

    def _pay(self) -> None:
        """What could not be told is told as ALL, to this mount as well."""
        if self.owes:
            self.owes = False
            self.server.directories.clear()
            for mount in self.server.mounts:
                mount.inbox.append(Change(Kind.ALL))
            self.server.wake()

    async def _reached(self) -> bool:
        """Whether there is an answer: one round trip."""
        await trio.lowlevel.checkpoint()
        if self.server.away:
            self._numbers = replace(self._numbers, refused=self._numbers.refused + 1)
            return False
        self._pay()
        self._numbers = replace(self._numbers, round_trips=self._numbers.round_trips + 1)
        return True

    def _record(self, directory: str, name: str) -> Record | None:
        known = self.server.begun(directory)
        if name in known.names:
            return known.names[name]
        return Record(None, known.complete) if known.complete else None

    def _count(self, hit: bool) -> None:
        numbers = self._numbers
        self._numbers = replace(numbers, hits=numbers.hits + hit, misses=numbers.misses + (not hit))
