"""The names in a directory, page by page, so that a directory of any size needs RAM for one page of attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vfs.errors import NameNotText, NameTooLong
from vfs.layout import PLACEHOLDER, Layout, decode_name
from vfs.meta.cache import MetaCache
from vfs.meta.entry import Entry
from vfs.meta.index import LEAST
from vfs.meta.memory import Known
from vfs.store.base import ObjectInfo, ObjectStore


@dataclass(frozen=True, slots=True)
class Listed:
    """One name; `entry` is None where its attributes are not known.

    `at`: since when they are, by trio's clock. `replaced`: it is another version than the one that was known here.
    """

    directory: bool
    entry: Entry | None = None
    at: float = -math.inf
    replaced: bool = False


class Listing:
    """One pass over a directory. `names` grows with every page, in the order of keys."""

    def __init__(self, store: ObjectStore, layout: Layout, cache: MetaCache, path: str) -> None:
        self._store = store
        self._cache = cache
        self.path = path
        self._prefix = layout.dir_key(path)
        self.watch = cache.watch(path)
        self._token: str | None = None
        self._names: dict[str, bool] = {}
        self._others: dict[str, Known] = {}
        self._index: Mapping[str, Entry] = {}
        self._version = -1
        """Of what other mounts knew when this began; -1: there is nothing to tell them."""
        self.done = False

    async def page(self, *, attributes: bool = True) -> dict[str, Listed]:
        """The next names, none of which came before. Empty pages are possible until `done`.

        Without `attributes` nothing is asked for their sake.
        """
        first = self._token is None and not self._names
        known = self._cache.names(self.path, self._cache.max_age) if first else None
        if known is None and first:
            known = await self._ask_others()
        if known is not None:
            self.done = True
            return {name: Listed(directory) for name, directory in known.items()}
        page = await self._store.list(self._prefix, delimiter="/", token=self._token)
        if first and attributes:
            await self._read_index(page.objects)
        fresh: dict[str, Listed] = {}
        for key in page.prefixes:
            name = _name(key[len(self._prefix) : -1])
            if name is not None and name not in self._names:
                fresh[name] = Listed(True)
            elif name is not None:
                self._names[name] = True  # a file of that name was on an earlier page: the directory hides it
        for info in page.objects:
            name = _name(info.key[len(self._prefix) :])
            if name is None or name in fresh or name in self._names:
                continue
            path, others = f"{self.path}/{name}", self._others.get(name)
            before, row = self._cache.memory.version(path), self._index.get(name)
            if row is not None and (row.etag, row.modified_ns) == (info.etag, info.modified_ns):
                others = Known(row, self.watch.begun)
            now = self._cache.listed(path, info, self.watch, others)
            entry, at = (now.entry, now.at) if now else (None, -math.inf)
            replaced = before is not None and before.entry is not None and entry is not before.entry
            fresh[name] = Listed(False, entry, at, replaced)
        self._names.update((name, listed.directory) for name, listed in fresh.items())
        self._token = page.token
        if self._token is None:
            self.done = True
            self._cache.keep_listing(self.path, self._names, self.watch)
        return fresh

    async def _read_index(self, objects: Sequence[ObjectInfo]) -> None:
        """One more question, where it may spare a great many."""
        unknown = 0
        for info in objects:
            name = _name(info.key[len(self._prefix) :])
            if info.meta is None and name is not None and name not in self._others:
                unknown += self._cache.peek(f"{self.path}/{name}") is None
        if unknown >= LEAST:
            self._index = await self._cache.load_index(self.path)

    async def _ask_others(self) -> dict[str, bool] | None:
        """All names, if other mounts know them; what else they know serves to spare questions."""
        memory = self._cache.memory
        names, since, self._version = await self._cache.sharing.folder(
            self.path, memory.lifetime, memory.ttl(self.path)
        )
        self._others = names
        if since is None:
            return None
        self._version = -1
        for name, known in names.items():
            mine = memory.get(path := f"{self.path}/{name}")
            if known.entry is not None and (mine is None or mine.at < known.at):
                self._cache.keep(path, known, self.watch)
        found = {name: known.entry.attr.is_dir for name, known in names.items() if known.entry is not None}
        self._cache.keep_listing(self.path, found, self.watch, since)
        return found

    def share(self) -> None:
        """Tells other mounts of the whole directory, once every name's attributes are known here.

        To be called when the pass is over. Does nothing if they knew already, or something is missing.
        """
        version, self._version = self._version, -1
        if not self.done or version < 0 or len(self._names) > self._cache.memory.most_names:
            return
        if self.watch.void or self.watch.written:
            return
        entries: dict[str, Known] = {}
        for name in self._names:
            known = self._cache.memory.get(f"{self.path}/{name}")
            if known is None or known.entry is None:
                return
            entries[name] = known
        self._cache.sharing.fill_folder(self.path, entries, self.watch.begun, version)


def _name(text: str) -> str | None:
    """A key's last component as a name of the mount; None for what no directory can show."""
    if text in ("", ".", "..", PLACEHOLDER) or "/" in text or "\0" in text:
        return None
    try:
        return decode_name(text.encode())
    except (NameTooLong, NameNotText, UnicodeEncodeError):
        return None
