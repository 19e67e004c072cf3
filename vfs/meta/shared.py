"""What all mounts of one user know together: attributes, listings, small contents, and a feed of changes.

A cache, and never the truth. Its calls raise nothing: what cannot be had is not known, and what cannot be told is
made good later. `vfs.meta.redis` implements it; `tests.memory_shared` is the fake.

Paths are relative to the mount, as in Layout: `workspace/a/b`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vfs.meta.entry import Entry
from vfs.types import ETag, Key


@dataclass(frozen=True, slots=True)
class Record:
    """What was known of one name at `at` (seconds since the epoch); `entry` None: that there is none."""

    entry: Entry | None
    at: float


@dataclass(frozen=True, slots=True)
class Folder:
    """What is known of the names in one directory.

    `complete` is when all of them were listed, seconds since the epoch; 0.0 if they were not. `version` goes back
    with what is filled in: it counts what mounts wrote there.
    """

    names: Mapping[str, Record] = field(default_factory=dict)
    complete: float = 0.0
    version: int = -1
    """-1: nothing may be filled in, as the cache does not answer."""


class Kind(StrEnum):
    PUT = "put"
    """The name is stored, with this entry."""
    DROP = "drop"
    """The name is gone."""
    TREE = "tree"
    """Whatever was known of this path, and of all below it, is not true any more."""
    ALL = "all"
    """Changes were lost: nothing that was known is certain."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a mount did. `below` are the directories under a TREE, as far as they are known."""

    kind: Kind
    path: str = ""
    entry: Entry | None = None
    below: Sequence[str] = ()
    origin: str = field(default="", compare=False)
    """Which other mount did it; filled in by the feed."""


class Listener(Protocol):
    """Hears what other mounts did, on the event loop, in order. Its own mount's changes are left out."""

    def changed(self, changes: Sequence[Change]) -> None:
        """They are in the store, and in the shared cache."""

    def connected(self, alive: bool) -> None:
        """Whether changes are heard from now on. While they are not, what is known has to be asked for again soon."""


@dataclass(frozen=True, slots=True)
class SharedStatistics:
    """`round_trips` counts requests to the cache, pipelines as one; `refused` what its breaker kept from it."""

    state: str = ""
    """"connected", "away", or "" where there is none."""
    cause: str = ""
    since: float = 0.0
    round_trips: int = 0
    hits: int = 0
    misses: int = 0
    published: int = 0
    received: int = 0
    refused: int = 0


class SharedCache(Protocol):
    """One user's. Every call is at most one round trip, and ends within a bound."""

    async def folder(self, path: str) -> Folder:
        """All that is known of a directory."""

    async def name(self, path: str, key: Key) -> tuple[Record | None, int]:
        """What is known of one name, and the version of its directory.

        If it is a small file whose object is `key`, its content comes along: the next question for it costs nothing.
        """

    async def names(self, paths: Sequence[str]) -> Mapping[str, Record]:
        """What is known of several names, of one directory or of several."""

    async def fill(
        self, directory: str, names: Mapping[str, Record], *, complete: float, version: int
    ) -> None:
        """What the store said of names in a directory; `complete` as in Folder.

        Not kept when a mount wrote in that directory since `version`: it may be older than the write.
        """

    async def publish(self, changes: Sequence[Change]) -> None:
        """This mount did this: the cache is updated and all others told, in one step."""

    async def content(self, key: Key, etag: ETag) -> bytes | None:
        """The bytes of a small object, of exactly that version."""

    async def keep_content(self, key: Key, etag: ETag, data: bytes) -> None:
        """Keeps them for others. Bounded in all; larger ones than the bound for one are not kept."""

    def statistics(self) -> SharedStatistics: ...

    async def run(self, listener: Listener) -> None:
        """Follows the feed until cancelled."""

    async def aclose(self) -> None:
        """Frees connections and threads."""
