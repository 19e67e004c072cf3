"""What this mount remembers of the store: attributes, absences and listings, for a while each.

One flight per key: however many programs ask for a path at once, the store is asked once. The mount's own writes go
in at once; an answer of the store that was under way meanwhile is then used but not remembered, because it may be
older than the write.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import trio
from cachetools import LRUCache

from vfs.config import Config
from vfs.errors import ObjectNotFound, leading
from vfs.layout import Layout
from vfs.meta.alone import Alone
from vfs.meta.attrs import Defaults, decode
from vfs.meta.entry import Entry
from vfs.meta.flights import Flights, Watch
from vfs.meta.index import LEAST, Indexes, settled
from vfs.meta.memory import Known, Memory
from vfs.meta.shared import Change, Kind, SharedCache
from vfs.meta.sharing import Sharing, Spawn
from vfs.meta.writers import Writers
from vfs.store.base import ObjectInfo, ObjectStore
from vfs.types import ETag, Key


@dataclass(frozen=True, slots=True)
class MetaStatistics:
    """Counts since the mount began, and entries held now."""

    attributes: int
    listings: int
    hits: int
    misses: int


class MetaCache:
    """Paths are relative to the mount, as in Layout."""

    def __init__(
        self,
        store: ObjectStore,
        layout: Layout,
        config: Config,
        shared: SharedCache | None = None,
        spawn: Spawn | None = None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._config = config
        self._defaults = Defaults.of(config)
        self.memory = Memory(config)
        self.sharing = Sharing(shared or Alone(), spawn)
        self.indexes = Indexes(store, layout)
        self._spawn = None if store.capabilities.list_metadata or config.read_only else spawn
        self._indexed: LRUCache[str, int] = LRUCache(1024)
        """Rows that the index of a directory has, as far as this mount saw it."""
        self._flights: Flights[Known] = Flights()
        self._writers = Writers(config.store_timeout)
        self._hits = self._misses = 0

    def statistics(self) -> MetaStatistics:
        return MetaStatistics(*self.memory.sizes, self._hits, self._misses)

    @property
    def max_age(self) -> float:
        """Seconds for which what is known may be believed when a file is opened or a directory read.

        Without end while others' changes are heard: its time to live alone bounds it then.
        """
        return math.inf if self.sharing.heard else self._config.revalidate

    @property
    def absent_age(self) -> float:
        """Seconds for which a name may be believed absent. A listing tells it for longer while others are heard."""
        if math.isinf(self.max_age):
            return math.inf
        return self._config.negative_ttl if self.max_age else 0.0

    def known(self, path: str) -> bool:
        """True if a name need not be asked for: whether it is there and what it is, or that it is not."""
        return self.memory.get(path, absent_age=self.absent_age) is not None

    # -- asking ----------------------------------------------------------------------------------------------

    async def lookup(
        self, path: str, directory: bool | None = None, max_age: float = math.inf
    ) -> Entry | None:
        """The stored name, or None. A directory hides a file of the same name.

        `directory` says which of the two a listing showed, so that only that one is asked for.
        """
        while True:
            known = self.memory.get(path, max_age, self.absent_age)
            if known is not None:
                self._hits += 1
                return known.entry
            flight = await self._flights.join(path)
            if flight is None:
                self._misses += 1
                flight = await self._flights.fly(path, lambda: self._resolve(path, directory))
                if flight.answer is not None and not flight.stale:
                    self.memory.keep(path, flight.answer.entry, flight.answer.at)
                    return flight.answer.entry
            elif flight.error is not None:
                raise type(flight.error)(*flight.error.args) from flight.error
            elif flight.answer is not None and not flight.stale:
                self._hits += 1
                return flight.answer.entry
            # What was asked before a write is not true after it: look again, the write has left its mark.

    def names(self, path: str, max_age: float = math.inf) -> dict[str, bool] | None:
        """Every name directly under a directory -> whether it is a directory, if that is known."""
        return self.memory.names(path, max_age)

    def peek(self, path: str) -> Entry | None:
        """What is known without asking; None where nothing is, or the name is known to be absent."""
        known = self.memory.get(path)
        return known.entry if known else None

    async def _resolve(self, path: str, directory: bool | None) -> Known:
        found, version = await self.sharing.name(path, self._layout.file_key(path), self.memory.lifetime)
        if found is not None:
            return found
        asked = trio.current_time()
        if directory is None:
            directory = self.memory.is_directory(path)
        if directory is None:
            entry = await self._either(path)
        elif directory:
            entry = await self._marker(path) or await self._directory(path) or await self._file(path)
        else:
            entry = await self._file(path) or await self._directory(path)
        self.sharing.fill(path, entry, version)
        return Known(entry, asked)

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
        return await self._object(self._layout.file_key(path))

    async def _marker(self, path: str) -> Entry | None:
        return await self._object(self._layout.dir_key(path))

    async def _object(self, key: Key) -> Entry | None:
        try:
            return self._entry(await self._store.head(key))
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
        return Entry(decode(info, self._defaults), info.etag, modified_ns=info.modified_ns, exact=True)

    def listed(self, path: str, info: ObjectInfo, watch: Watch, others: Known | None = None) -> Known | None:
        """What is known of a listed object: the listing carried it, or it is the version known here.

        What was known of another version is forgotten. `others` is what other mounts know.
        """
        if info.meta is not None:
            told = Known(self._entry(info), watch.begun)
            self.keep(path, told, watch)
            return told
        known = self.memory.version(path)
        if watch.void or path.rpartition("/")[2] in watch.written:
            return known if known and known.entry else None
        if others is not None and not (known and known.is_version(info.etag, info.modified_ns)):
            known = others
        if known is None or known.entry is None:
            return None
        if not known.is_version(info.etag, info.modified_ns):
            self.memory.discard(path)
            return None
        if known.settled:
            known = Known(known.entry, watch.begun)
        self.keep(path, known, watch)
        return known

    def watch(self, path: str) -> Watch:
        """To be taken before a listing of this directory begins: knows what the mount writes meanwhile."""
        return self._flights.watch(path)

    def keep_listing(self, path: str, names: dict[str, bool], watch: Watch, at: float | None = None) -> None:
        """A complete listing, with what this mount wrote in that directory since it began.

        `at` is when it was true, by trio's clock, if that was before. Not kept if it cannot be told what was written.
        """
        if watch.void:
            return
        names = dict(names)
        for name in watch.written:
            known = self.memory.get(f"{path}/{name}")
            if known is None:
                return
            names.pop(name, None)
            if known.entry is not None:
                names[name] = known.entry.attr.is_dir
        self.memory.keep_listing(path, names, watch.begun if at is None else at)

    def keep(self, path: str, known: Known, watch: Watch) -> None:
        """What a listing said of one name; not kept if this mount wrote it since the listing began."""
        if not watch.void and path.rpartition("/")[2] not in watch.written:
            self.memory.keep(path, known.entry, known.at)

    async def load_index(self, path: str) -> Mapping[str, Entry]:
        """What another mount found out of the files in a directory, by version."""
        rows = await self.indexes.load(path)
        self._indexed[path] = len(rows)
        return rows

    def save_index(self, path: str, names: Iterable[str]) -> None:
        """Writes down what was found out by asking for many files, in the background, once all of it is known."""
        if self._spawn is None:
            return
        rows: dict[str, Entry] = {}
        for name in names:
            entry = self.peek(f"{path}/{name}")
            if entry is None:
                return
            if settled(entry):
                rows[name] = entry
        if len(rows) - self._indexed.get(path, 0) >= LEAST:
            self._indexed[path] = len(rows)
            self._spawn(lambda: self.indexes.save(path, rows))

    # -- own writes ------------------------------------------------------------------------------------------

    def put(self, path: str, entry: Entry, at: float | None = None) -> bool:
        """The mount itself stored this; or knows it from then, by trio's clock.

        False: another one may have stored something else since, and the store has to be asked.
        """
        self._now(path, entry, at)
        self.sharing.note(Change(Kind.PUT, path, entry))
        return not self._contest(path, self._writers.wrote(path))

    def drop(self, path: str) -> None:
        """The mount itself deleted this."""
        self._now(path, None)
        self.sharing.note(Change(Kind.DROP, path))
        self._contest(path, self._writers.wrote(path))

    def moved(self, path: str, below: Sequence[str] | None) -> None:
        """The mount itself moved a directory to or from this path; `below` are the directories in it, if known."""
        self.forget(path)
        self.sharing.note(Change(Kind.ALL) if below is None else Change(Kind.TREE, path, below=below))

    def doubt(self, path: str) -> None:
        """The store turned out to have something else: what other mounts know of it is not true either."""
        self.forget(path)
        self.sharing.note(Change(Kind.TREE, path))

    # -- others' writes --------------------------------------------------------------------------------------

    def heard(self, path: str, entry: Entry | None, origin: str) -> bool:
        """Another mount stored this, or deleted it. False: nobody knows, the store has to be asked."""
        self._now(path, entry)
        return not self._contest(path, self._writers.heard(path, origin))

    def _contest(self, path: str, contested: bool) -> bool:
        """Nobody believes what one of two writers told: what the shared cache has may be the older of the two."""
        if contested:
            self.memory.doubt(path)
            self.sharing.note(Change(Kind.TREE, path))
        return contested

    def _now(self, path: str, entry: Entry | None, at: float | None = None) -> None:
        self._flights.wrote(path)
        if entry is None:
            self.memory.drop(path)
        else:
            self.memory.put(path, entry, at)

    def forget_all(self) -> None:
        """Nothing that was known is certain."""
        self._flights.void("")
        self.memory.clear()

    def forget(self, path: str) -> None:
        """Nothing is known of this path any more, nor of what lies under it, nor who its neighbours are."""
        self._flights.void(path)
        self.memory.forget(path)

    def created_directory(self, path: str, entry: Entry) -> None:
        """The mount itself made this directory: it is known to be empty."""
        if self.put(path, entry):
            self.memory.keep_listing(path, {})
