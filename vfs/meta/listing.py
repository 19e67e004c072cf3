"""The names in a directory, page by page, so that a directory of any size needs RAM for one page of attributes."""

from __future__ import annotations

from dataclasses import dataclass

from vfs.errors import NameNotText, NameTooLong
from vfs.layout import PLACEHOLDER, Layout, decode_name
from vfs.meta.cache import MetaCache
from vfs.meta.entry import Entry
from vfs.store.base import ObjectStore


@dataclass(frozen=True, slots=True)
class Listed:
    """One name; `entry` is None where the listing did not carry its attributes."""

    directory: bool
    entry: Entry | None = None


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
        self.done = False

    async def page(self) -> dict[str, Listed]:
        """The next names, none of which came before. Empty pages are possible until `done`."""
        first = self._token is None and not self._names
        known = self._cache.names(self.path, self._cache.max_age) if first else None
        if known is not None:
            self.done = True
            return {name: Listed(directory) for name, directory in known.items()}
        page = await self._store.list(self._prefix, delimiter="/", token=self._token)
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
            fresh[name] = Listed(False, self._cache.listed(f"{self.path}/{name}", info, self.watch))
        self._names.update((name, listed.directory) for name, listed in fresh.items())
        self._token = page.token
        if self._token is None:
            self.done = True
            self._cache.keep_listing(self.path, self._names, self.watch)
        return fresh


def _name(text: str) -> str | None:
    """A key's last component as a name of the mount; None for what no directory can show."""
    if text in ("", ".", "..", PLACEHOLDER) or "/" in text or "\0" in text:
        return None
    try:
        return decode_name(text.encode())
    except (NameTooLong, NameNotText, UnicodeEncodeError):
        return None
