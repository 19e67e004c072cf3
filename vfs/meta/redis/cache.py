"""The cache that all mounts of one user share, in Redis."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import trio
from cachetools import LRUCache

from vfs.meta.redis.client import Client
from vfs.meta.redis.codec import UNKNOWN, decode, encode, seal, tell, unseal
from vfs.meta.redis.feed import Feed
from vfs.meta.redis.limits import Limits
from vfs.meta.redis.link import Arg, Link
from vfs.meta.redis.location import Location
from vfs.meta.redis.scripts import CONTENT, FILL, FOLDER, KEEP, NAME, NAMES, PUBLISH
from vfs.meta.shared import Change, Folder, Kind, Listener, Record, SharedStatistics
from vfs.types import ETag, Key

MOST_NAMES_ASKED = 1000
"""Of one directory in one group of a question (Lua unpacks 8,000 words at most)."""

ENCODED_AT_ONCE = 300
"""Records, in about a millisecond."""

CONTENT_OVERHEAD = 512
"""Bytes that one content takes beside its own: key, version and entry."""

_FORGOTTEN = Folder()


class RedisCache:
    """`space` tells stores apart: mounts of one user share what is known only if they mount the same objects."""

    def __init__(self, location: Location, space: str, user: str, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        tag = hashlib.sha256(space.encode()).hexdigest()[:16]
        self._base = f"agentfs:1:{{{tag}:{user}}}:"
        self._state, self._stream = self._base + "state", self._base + "stream"
        self._contents = self._base + "content"
        self._segments = [f"{self._base}content:{n}" for n in range(self._limits.content_segments)]
        self._origin = secrets.token_hex(8)
        self._client = Client(location, self._limits, self._state)
        self._link = Link(self._client, self._limits, self._state, self._stream)
        self._feed = Feed(self._link, self._client, self._limits, self._stream, self._origin.encode())
        self._ahead: LRUCache[tuple[Key, ETag], bytes] = LRUCache(
            self._limits.content_ahead, lambda data: len(data) + CONTENT_OVERHEAD
        )
        self._hits = self._misses = self._published = 0

    def statistics(self) -> SharedStatistics:
        breaker = self._link.breaker
        away = breaker.silent or self._link.owes or (self._feed.running and not self._feed.alive)
        return SharedStatistics(
            state="away" if away else "connected",
            cause=breaker.cause if not breaker.closed else self._feed.cause if away else "",
            since=breaker.since,
            round_trips=self._client.requests,
            hits=self._hits,
            misses=self._misses,
            published=self._published,
            received=self._feed.received,
            refused=breaker.refused,
        )

    async def run(self, listener: Listener) -> None:
        await self._feed.run(listener)

    async def aclose(self) -> None:
        await self._link.settle()
        self._client.close()

    # -- asking ----------------------------------------------------------------------------------------------

    async def folder(self, path: str) -> Folder:
        keys = [self._state, self._directory(path)]
        folder: Folder | None = await self._link.ask(FOLDER, keys, self._asking(path), _folder)
        known = folder is not None and bool(folder.complete)
        self._count(known, not known)
        return folder or _FORGOTTEN

    async def name(self, path: str, key: Key) -> tuple[Record | None, int]:
        directory, _, name = path.rpartition("/")
        keys = [self._state, self._directory(directory), *self._segments]
        answer = await self._link.ask(NAME, keys, [*self._asking(directory), name.encode(), key])
        if answer is None:
            self._count(0, 1)
            return None, -1
        record = _record(answer[1][0], answer[1][1]) if len(answer[1]) == 2 else None
        self._count(record is not None, record is None)
        data = unseal(answer[2] or None)
        if data is not None and record is not None and record.entry is not None:
            self._ahead[key, record.entry.etag] = data
        return record, _version(answer[0])

    async def names(self, paths: Sequence[str]) -> Mapping[str, Record]:
        groups = _groups(paths)
        keys = [self._state, *(self._directory(directory) for directory, _ in groups)]
        args: list[Arg] = []
        for directory, names in groups:
            args += [directory, len(names), *(name.encode() for name in names)]
        answer = await self._link.ask(NAMES, keys, args) if paths else None
        found: dict[str, Record] = {}
        for (directory, names), records in zip(groups, answer or (), strict=False):
            for name, data in zip(names, (records or (None,))[1:], strict=False):
                record = _record(data, records[0])
                if record is not None:
                    found[f"{directory}/{name}" if directory else name] = record
        self._count(len(found), len(paths) - len(found))
        return found

    async def content(self, key: Key, etag: ETag) -> bytes | None:
        data = self._ahead.pop((key, etag), None)
        if data is None:
            data = unseal(await self._link.ask(CONTENT, self._segments, [_digest(key, etag)]) or None)
        self._count(data is not None, data is None)
        return data

    # -- telling ---------------------------------------------------------------------------------------------

    async def fill(
        self, directory: str, names: Mapping[str, Record], *, complete: float, version: int
    ) -> None:
        limits = self._limits
        if version < 0 or len(names) > limits.most_names or not _plain(names):
            return
        head: list[Arg] = [directory, version, repr(complete) if complete else "", int(limits.ttl)]
        records = await self._encoded(list(names.items()))
        if names or complete:
            args = [*head, limits.most_names, *records]
            await self._link.ask(FILL, [self._state, self._directory(directory)], args)

    async def publish(self, changes: Sequence[Change]) -> None:
        """One round trip for each `Limits.batch` changes."""
        for first in range(0, len(changes), self._limits.batch):
            part = changes[first : first + self._limits.batch]
            if await self._publish(part):
                self._published += len(part)

    async def keep_content(self, key: Key, etag: ETag, data: bytes) -> None:
        limits = self._limits
        if len(data) > limits.content_size:
            return
        size = limits.content_total // limits.content_segments
        args: list[Arg] = [_digest(key, etag), seal(data), size, int(limits.content_ttl)]
        await self._link.ask(KEEP, [self._contents, *self._segments], args)

    async def _publish(self, changes: Sequence[Change]) -> bool:
        now = time.time()
        directories: dict[str, int] = {}
        steps: list[Arg] = []

        def step(what: str, directory: str = "", name: str = "", record: bytes = UNKNOWN) -> None:
            index = directories.setdefault(directory, len(directories))
            steps.extend((what, index, name.encode(), record))

        for change in changes:
            directory, _, name = change.path.rpartition("/")
            if change.kind is Kind.ALL or not change.path:
                step("all")
            elif change.kind is Kind.TREE:
                step("tree", name=change.path)
                step("put", directory, name)
                for path in (change.path, *change.below):
                    step("forget", path)
            elif change.kind is Kind.DROP:
                step("drop", directory, name)
                step("forget", change.path)
            else:
                record = encode(Record(change.entry, now)) if change.entry is not None else UNKNOWN
                step("put", directory, name, record)
        limits = self._limits
        head: list[Arg] = [self._origin, _number(), int(limits.ttl), limits.most_names, limits.stream_length]
        args = [*head, secrets.token_hex(8), len(steps) // 4, *directories, *steps, *tell(changes, now)]
        keys = [self._state, self._stream, *map(self._directory, directories)]
        return await self._link.tell(PUBLISH, keys, args)

    async def _encoded(self, names: Sequence[tuple[str, Record]]) -> list[Arg]:
        """In a thread, if it takes more than a millisecond."""
        if len(names) <= ENCODED_AT_ONCE:
            return _records(names)
        return await trio.to_thread.run_sync(_records, names)

    def _directory(self, path: str) -> str:
        return f"{self._base}dir:{path}"

    def _asking(self, path: str) -> list[Arg]:
        return [path, _number(), int(self._limits.placeholder_ttl)]

    def _count(self, hits: int, misses: int) -> None:
        self._hits += hits
        self._misses += misses


def _folder(answer: Sequence[Any]) -> Folder:
    fields = iter(answer[1])
    names: dict[str, Record] = {}
    complete, whole = 0.0, True
    for field, data in zip(fields, fields, strict=True):
        if field.startswith(b"/"):
            if field == b"/c":
                complete = _seconds(data)
            continue
        record, name = decode(data), _text(field)
        if record is None or name is None:
            whole = False
        else:
            names[name] = record
    return Folder(names, complete if whole else 0.0, _version(answer[0]))


def _records(names: Sequence[tuple[str, Record]]) -> list[Arg]:
    return [word for name, record in names for word in (name.encode(), encode(record))]


def _number() -> int:
    """A version that was never there before."""
    return secrets.randbits(62)


def _version(data: bytes) -> int:
    try:
        return int(data)
    except ValueError:
        return -1


def _seconds(data: bytes | None) -> float:
    try:
        return float(data) if data else 0.0
    except ValueError:
        return 0.0


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _record(data: bytes | None, complete: bytes | None) -> Record | None:
    """What is known of a name; one that is not among all names of its directory is not there."""
    if data is not None:
        return decode(data)
    at = _seconds(complete)
    return Record(None, at) if at else None


def _groups(paths: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Names by directory, at most MOST_NAMES_ASKED in a group."""
    groups: list[tuple[str, list[str]]] = []
    open_ones: dict[str, list[str]] = {}
    for path in paths:
        directory, _, name = path.rpartition("/")
        names = open_ones.get(directory)
        if names is None or len(names) == MOST_NAMES_ASKED:
            names = open_ones[directory] = []
            groups.append((directory, names))
        names.append(name)
    return groups


def _plain(names: Iterable[str]) -> bool:
    """Whether none of them is taken for one of our own fields."""
    return not any(name.startswith("/") for name in names)


def _digest(key: Key, etag: ETag) -> str:
    """As the scripts make it too."""
    return hashlib.sha1(f"{key}\0{etag}".encode(), usedforsecurity=False).hexdigest()
