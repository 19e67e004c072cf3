"""What this mount remembers of the store: attributes, absences and listings, for a while each.

One flight per key: however many programs ask for a path at once, the store is asked once. The mount's own writes go
in at once; an answer of the store that was under way meanwhile is then used but not remembered, because it may be
older than the write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import trio
from cachetools import TLRUCache

from vfs.config import Config
from vfs.errors import NameNotText, NameTooLong, ObjectNotFound, leading
from vfs.layout import Layout, decode_name
from vfs.meta.attrs import Defaults, decode
from vfs.store.base import ObjectInfo, ObjectStore
from vfs.types import Attr, ETag, Key

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored name. `marker` False: a directory that exists only because keys lie under it."""

    attr: Attr
    etag: ETag
    marker: bool = True


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
        self._flights: dict[tuple[str, str], trio.Event] = {}
        self._epoch = 0
        """Counts own writes: an answer from before the last one is not remembered."""
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

    async def lookup(self, path: str) -> Entry | None:
        """The stored name, or None. A directory hides a file of the same name."""
        return await self._flight("lookup", path, lambda: self._resolve(path), lambda: self._known(path))

    def peek(self, path: str) -> Entry | None:
        """What is known without asking; None where nothing is, or the name is known to be absent."""
        return self._attrs.get(path)

    def _known(self, path: str) -> tuple[bool, Entry | None]:
        if path in self._attrs:
            return True, self._attrs[path]
        parent, _, name = path.rpartition("/")
        names = self._listings.get(parent)
        return names is not None and name not in names, None

    def _known_children(self, path: str) -> tuple[bool, dict[str, bool]]:
        names = self._listings.get(path)
        return names is not None, names if names is not None else {}

    async def _resolve(self, path: str) -> Entry | None:
        epoch = self._epoch
        file: Entry | None = None
        directory: Entry | None = None

        async def look_for_file() -> None:
            nonlocal file
            with contextlib.suppress(ObjectNotFound):
                file = self._entry(await self._store.head(self._layout.file_key(path)))

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look_for_file)
                directory = await self._directory(path)
        except BaseExceptionGroup as group:
            raise leading(group) from group
        found = directory or file
        if epoch == self._epoch:
            self._attrs[path] = found
        return found

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

    async def children(self, path: str) -> Mapping[str, bool]:
        """Every name directly under a directory -> whether it is a directory. Complete, or the call fails."""
        return await self._flight("list", path, lambda: self._list(path), lambda: self._known_children(path))

    async def _list(self, path: str) -> dict[str, bool]:
        epoch = self._epoch
        prefix = self._layout.dir_key(path)
        names: dict[str, bool] = {}
        token: str | None = None
        while True:
            page = await self._store.list(prefix, delimiter="/", token=token)
            for info in page.objects:
                name = _name(info.key, prefix)
                if name is None or name in names:
                    continue
                names[name] = False
                if info.meta is not None and epoch == self._epoch:
                    self._attrs[f"{path}/{name}"] = self._entry(info)
            for key in page.prefixes:
                name = _name(Key(key.rstrip("/")), prefix)
                if name is not None:
                    names[name] = True
            token = page.token
            if token is None:
                break
        if epoch == self._epoch and len(names) < self._config.cache_entries:
            self._listings[path] = names
        return names

    async def _flight(
        self, kind: str, path: str, ask: Callable[[], Awaitable[T]], known: Callable[[], tuple[bool, T]]
    ) -> T:
        """What is known, else waits for a flight that is under way and looks again, else flies itself."""
        while True:
            hit, answer = known()
            if hit:
                self._hits += 1
                return answer
            flight = self._flights.get((kind, path))
            if flight is None:
                break
            await flight.wait()
        self._misses += 1
        flight = self._flights[kind, path] = trio.Event()
        try:
            return await ask()
        finally:
            del self._flights[kind, path]
            flight.set()

    # -- own writes ------------------------------------------------------------------------------------------

    def put(self, path: str, entry: Entry) -> None:
        """The mount itself stored this."""
        self._epoch += 1
        self._attrs[path] = entry
        parent, _, name = path.rpartition("/")
        names = self._listings.get(parent)
        if names is not None:
            names[name] = entry.attr.is_dir

    def drop(self, path: str) -> None:
        """The mount itself deleted this."""
        self._epoch += 1
        self._attrs[path] = None
        self._listings.pop(path, None)
        parent, _, name = path.rpartition("/")
        names = self._listings.get(parent)
        if names is not None:
            names.pop(name, None)

    def forget(self, path: str) -> None:
        """Nothing is known of this path any more, nor of what lies under it, nor who its neighbours are."""
        self._epoch += 1
        below = path + "/"
        for cache in (self._attrs, self._listings):
            for known in [known for known in cache if known == path or known.startswith(below)]:
                cache.pop(known, None)
        self._listings.pop(path.rpartition("/")[0], None)

    def created_directory(self, path: str, entry: Entry) -> None:
        """The mount itself made this directory: it is known to be empty."""
        self.put(path, entry)
        self._listings[path] = {}


def _name(key: Key, prefix: str) -> str | None:
    """The last component as a name of the mount; None for what no directory can show."""
    name = key[len(prefix) :]
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return None
    try:
        return decode_name(name.encode())
    except (NameTooLong, NameNotText, UnicodeEncodeError):
        return None
