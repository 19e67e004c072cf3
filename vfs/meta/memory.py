"""What this process remembers of the store: attributes, absences and listings, by least recent use."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import trio
from cachetools import TLRUCache

from vfs.config import Config
from vfs.meta.entry import SECOND_NS, Entry
from vfs.types import ETag

SETTLED_SECONDS = 60.0
"""More than the clocks of a mount and its store differ, and the seconds in which listings count."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was true of a name at `at` (trio's clock); `entry` None: there is none such."""

    entry: Entry | None
    at: float

    def is_version(self, etag: ETag, modified_ns: int) -> bool:
        return self.entry is not None and self.entry.is_version(etag, modified_ns)

    @property
    def settled(self) -> bool:
        """Whoever changed it since changed what a listing shows of it. Attributes change no etag, only the time."""
        if self.entry is None or not self.entry.modified_ns:
            return False
        return wall(self.at) - self.entry.modified_ns / SECOND_NS > SETTLED_SECONDS


@dataclass(slots=True)
class Names:
    """All names in a directory at `at` -> whether each is a directory. Own writes keep it true."""

    names: dict[str, bool]
    at: float


class Memory:
    """Paths as in Layout. Nothing here waits, and nothing is believed longer than its time to live."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._entries: TLRUCache[str, Known] = TLRUCache(
            config.cache_entries,
            ttu=lambda path, known, _: math.inf if known.settled else self._until(path, known),
            timer=trio.current_time,
        )
        # INVARIANT: the names in all listings together, and a row for each, are at most `cache_entries`.
        self._listings: TLRUCache[str, Names] = TLRUCache(
            config.cache_entries,
            ttu=lambda path, listing, _: listing.at + self.ttl(path),
            timer=trio.current_time,
            getsizeof=lambda listing: 1 + len(listing.names),
        )
        self.most_names = config.cache_entries // 4
        """In one remembered listing: a huge directory would push out all others, or grow with every file made."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Entries and listings held."""
        return len(self._entries), len(self._listings)

    def ttl(self, path: str) -> float:
        """Seconds for which what is known of `path` holds."""
        memory = path == "memory" or path.startswith("memory/")
        return self._config.memory_ttl if memory else self._config.workspace_ttl

    def lifetime(self, path: str, entry: Entry | None) -> float:
        return self._config.negative_ttl if entry is None else self.ttl(path)

    def _until(self, path: str, known: Known) -> float:
        return known.at + self.lifetime(path, known.entry)

    # -- asking ----------------------------------------------------------------------------------------------

    def get(self, path: str, max_age: float = math.inf, absent_age: float = math.inf) -> Known | None:
        """What is known of a name, if it is no older than that; None if nothing is.

        What a complete listing lacks is known to be absent. That a name is absent is no older than `absent_age`.
        """
        now = trio.current_time()
        since, absent_since = now - max_age, now - min(max_age, absent_age)
        known = self._entries.get(path)
        young = known is not None and known.at >= (absent_since if known.entry is None else since)
        if known is not None and young and now < self._until(path, known):
            return known
        parent, _, name = path.rpartition("/")
        listing = self._listings.get(parent)
        if listing is not None and listing.at >= absent_since and name not in listing.names:
            return Known(None, listing.at)
        return None

    def version(self, path: str) -> Known | None:
        """The same, or what is too old to be believed: it holds for that version, if a listing shows it again."""
        return self.get(path) or self._entries.get(path)

    def names(self, path: str, max_age: float = math.inf) -> dict[str, bool] | None:
        """Every name in a directory, if that is known and no older."""
        listing = self._listings.get(path)
        return listing.names if listing and listing.at >= trio.current_time() - max_age else None

    def is_directory(self, path: str) -> bool | None:
        """Whether a listing showed a directory of that name, a file, or nothing."""
        parent, _, name = path.rpartition("/")
        listing = self._listings.get(parent)
        return listing.names.get(name) if listing else None

    # -- remembering -----------------------------------------------------------------------------------------

    def keep(self, path: str, entry: Entry | None, at: float | None = None) -> None:
        """Says nothing of whether the directory has the name."""
        self._entries[path] = Known(entry, trio.current_time() if at is None else at)

    def keep_listing(self, path: str, names: dict[str, bool], at: float | None = None) -> None:
        if len(names) <= self.most_names:
            self._listings[path] = Names(names, trio.current_time() if at is None else at)

    def put(self, path: str, entry: Entry, at: float | None = None) -> None:
        """It was stored just now, or at that time of trio's clock."""
        self.keep(path, entry, at)
        parent, _, name = path.rpartition("/")
        listing = self._listings.get(parent)
        if listing is not None:
            before = len(listing.names)
            listing.names[name] = entry.attr.is_dir
            if len(listing.names) != before:
                self._count(parent, listing)

    def drop(self, path: str) -> None:
        """It was deleted just now."""
        self.keep(path, None)
        self._listings.pop(path, None)
        parent, _, name = path.rpartition("/")
        listing = self._listings.get(parent)
        if listing is not None and listing.names.pop(name, None) is not None:
            self._count(parent, listing)

    def _count(self, path: str, listing: Names) -> None:
        """The cache counts what is put into it and not what becomes of that: so it is put into it anew."""
        self._listings.pop(path, None)
        if len(listing.names) <= self.most_names:
            self._listings[path] = listing

    def check(self) -> None:
        """Raises AssertionError where `_listings` holds more names than it counts, or than are allowed."""
        self._listings.expire()
        held = sum(1 + len(self._listings[path].names) for path in list(self._listings))
        assert held == self._listings.currsize <= self._config.cache_entries

    def forget(self, path: str) -> None:
        """Nothing is known of this path any more, nor of what lies under it, nor who its neighbours are."""
        below = path + "/"
        for cache in (self._entries, self._listings):
            for known in [known for known in cache if known == path or known.startswith(below)]:
                cache.pop(known, None)
        self._listings.pop(path.rpartition("/")[0], None)

    def doubt(self, path: str) -> None:
        """Nothing is known of this name any more, nor who its neighbours are; of what lies under it, who they are."""
        self._entries.pop(path, None)
        for listing in (path, path.rpartition("/")[0]):
            self._listings.pop(listing, None)

    def discard(self, path: str) -> None:
        """What was known of this name is not true any more."""
        self._entries.pop(path, None)

    def clear(self) -> None:
        self._entries.clear()
        self._listings.clear()


def wall(at: float) -> float:
    """Seconds since the epoch, of a time of trio's clock."""
    return time.time() - (trio.current_time() - at)
