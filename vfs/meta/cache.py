"""What this mount remembers of the store: attributes, absences and listings, for a while each.

One flight per key: however many programs ask for a path at once, the store is asked once. The mount's own writes go
in at once; an answer of the store that was under way meanwhile is then used but not remembered, because it may be
older than the write.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio
from cachetools import TLRUCache

from vfs.config import Config
from vfs.errors import ObjectNotFound, leading
from vfs.layout import Layout
from vfs.meta.attrs import Defaults, decode
from vfs.meta.entry import Entry
from vfs.meta.flights import Flights, Watch
from vfs.store.base import ObjectInfo, ObjectStore
from vfs.types import ETag


class _Unknown:
    """Neither an entry nor a known absence."""


_UNKNOWN = _Unknown()


@dataclass(frozen=True, slots=True)
class MetaStatistics:
    """Counts since the mount began, and entries held now."""

    attributes: int
    listings: int
    hits: int
    misses: int


class MetaCache:
    """Paths are relative to the mount, as in Layout."""

    def __init__(self, store: ObjectStore, layout: Layout, config: Config) -> None:
        self._store = store
        self._layout = layout
        self._config = config
        self._defaults = Defaults.of(config)
        self._attrs: TLRUCache[str, Entry | None] = TLRUCache(
            config.cache_entries, ttu=self._until, timer=trio.current_time
        )
        self._listings: TLRUCache[str, dict[str, bool]] = TLRUCache(
            config.cache_entries,
            ttu=lambda path, _, now: now + self.ttl(path),
            timer=trio.current_time,
            getsizeof=lambda names: 1 + len(names),
        )
        self._most_names = config.cache_entries // 4
        """In one remembered listing: a huge directory would push out all others, or grow with every file made."""
        self._flights: Flights[Entry | None] = Flights()
        self._hits = self._misses = 0

    def statistics(self) -> MetaStatistics:
        return MetaStatistics(len(self._attrs), len(self._listings), self._hits, self._misses)

    def ttl(self, path: str) -> float:
        """Seconds for which what is known of `path` holds."""
        memory = path == "memory" or path.startswith("memory/")
        return self._config.memory_ttl if memory else self._config.workspace_ttl

    def _until(self, path: str, entry: Entry | None, now: float) -> float:
        return now + (self._config.negative_ttl if entry is None else self.ttl(path))

    # -- asking ----------------------------------------------------------------------------------------------

    async def lookup(self, path: str, directory: bool | None = None) -> Entry | None:
        """The stored name, or None. A directory hides a file of the same name.

        `directory` says which of the two a listing showed, so that only that one is asked for.
        """
        while True:
            hit, answer = self._known(path)
            if hit:
                self._hits += 1
                return answer
            flight = await self._flights.join(path)
            if flight is None:
                break
            if flight.error is not None:
                raise type(flight.error)(*flight.error.args) from flight.error
            if flight.landed and not flight.stale:
                self._hits += 1
                return flight.answer
        self._misses += 1
        flown = await self._flights.fly(path, lambda: self._resolve(path, directory))
        if not flown.stale:
            self._attrs[path] = flown.answer
        return flown.answer

    def peek(self, path: str) -> Entry | None:
        """What is known without asking; None where nothing is, or the name is known to be absent."""
        return self._attrs.get(path)

    def _known(self, path: str) -> tuple[bool, Entry | None]:
        entry = self._attrs.get(path, _UNKNOWN)  # one step: it may expire between two
        if not isinstance(entry, _Unknown):
            return True, entry
        parent, _, name = path.rpartition("/")
        names = self._listings.get(parent)
        return names is not None and name not in names, None

    async def _resolve(self, path: str, directory: bool | None) -> Entry | None:
        if directory is None:
            parent, _, name = path.rpartition("/")
            directory = (self._listings.get(parent) or {}).get(name)
        if directory is None:
            return await self._either(path)
        return await (self._directory(path) if directory else self._file(path))

    async def _either(self, path: str) -> Entry | None:
        """Both questions at once: nothing says yet whether it is a file or a directory."""
        file: Entry | None = None

        async def ask_for_file() -> None:
            nonlocal file
            file = await self._file(path)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_for_file)
                directory = await self._directory(path)
        except BaseExceptionGroup as group:
            raise leading(group) from group
        return directory or file

    async def _file(self, path: str) -> Entry | None:
        try:
            return self._entry(await self._store.head(self._layout.file_key(path)))
        except ObjectNotFound:
            return None

    async def _directory(self, path: str) -> Entry | None:
        key = self._layout.dir_key(path)
        page = await self._store.list(key, limit=1)
        if not page.objects:
            return None
        first = page.objects[0]
        if first.key != key:
            return Entry(
                self._defaults.attr(directory=True, size=0, time_ns=first.modified_ns), ETag(""), False
            )
        return self._entry(first if first.meta is not None else await self._store.head(key))

    def _entry(self, info: ObjectInfo) -> Entry:
        return Entry(decode(info, self._defaults), info.etag)

    def names(self, path: str) -> dict[str, bool] | None:
        """Every name directly under a directory -> whether it is a directory, if that is known."""
        return self._listings.get(path)

    def listed(self, info: ObjectInfo) -> Entry | None:
        """The entry of a listed object, if the listing carried enough to make one."""
        return self._entry(info) if info.meta is not None else None

    def watch(self, path: str) -> Watch:
        """To be taken before a listing of this directory begins: knows what the mount writes meanwhile."""
        return self._flights.watch(path)

    def keep_listing(self, path: str, names: dict[str, bool], watch: Watch) -> None:
        """A complete listing; not kept if this mount wrote in that directory since it began."""
        if not watch.void and not watch.written and len(names) <= self._most_names:
            self._listings[path] = names

    def keep(self, path: str, entry: Entry, watch: Watch) -> None:
        """What a listing said of one name; not kept if this mount wrote it since the listing began."""
        if not watch.void and path.rpartition("/")[2] not in watch.written:
            self._attrs[path] = entry

    # -- own writes ------------------------------------------------------------------------------------------

    def put(self, path: str, entry: Entry) -> None:
        """The mount itself stored this."""
        self._flights.wrote(path)
        self._attrs[path] = entry
        parent, _, name = path.rpartition("/")
        names = self._listings.get(parent)
        if names is not None:
            names[name] = entry.attr.is_dir
            if len(names) > self._most_names:
                self._listings.pop(parent)

    def drop(self, path: str) -> None:
        """The mount itself deleted this."""
        self._flights.wrote(path)
        self._attrs[path] = None
        self._listings.pop(path, None)
        parent, _, name = path.rpartition("/")
        names = self._listings.get(parent)
        if names is not None:
            names.pop(name, None)

    def forget(self, path: str) -> None:
        """Nothing is known of this path any more, nor of what lies under it, nor who its neighbours are."""
        self._flights.void(path)
        below = path + "/"
        for cache in (self._attrs, self._listings):
            for known in [known for known in cache if known == path or known.startswith(below)]:
                cache.pop(known, None)
        self._listings.pop(path.rpartition("/")[0], None)

    def created_directory(self, path: str, entry: Entry) -> None:
        """The mount itself made this directory: it is known to be empty."""
        self.put(path, entry)
        self._listings[path] = {}
