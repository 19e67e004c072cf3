"""Listings in the order of S3: by the bytes of the whole key, so that the directory `a/` comes after `a-` and
`a.` and before `a0`.

A directory is read once per listing, not once per page: what is left of an unfinished listing waits under its
token, a few of them for a while. A token alone also says where to go on, so that nothing but time is lost when
the rest is gone. Names come from the moment the directory was read; what vanished since is left out.

Memory is bounded: of a directory only the `WINDOW` next names are kept, and it is read again after those.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from vfs.errors import ObjectNotFound, StoreError
from vfs.store.base import ListPage, ObjectInfo, ObjectMeta
from vfs.store.local.objects import Objects
from vfs.store.local.places import KEY_MAX, PRIVATE, is_component, is_text
from vfs.store.local.records import etag_of
from vfs.store.local.tree import Tree, lstat, open_directory, open_file
from vfs.types import Key

WINDOW = 32_768
"""Names of one directory kept in memory."""

_KEPT = 8
"""Unfinished listings."""

_EXPIRY = 60.0
"""Seconds for which one is kept."""

PAGE_MAX = 1000


@dataclass(slots=True)
class _Scan:
    """A listing under way: the keys still to come, the first of them perhaps taken already."""

    keys: Iterator[str]
    ahead: str | None = None
    kept: float = 0.0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.ahead is None:
            return next(self.keys)
        key, self.ahead = self.ahead, None
        return key


class Listings:
    """Pages of keys of one tree. `metadata` says whether pages carry it; `windows` counts directory reads."""

    def __init__(self, tree: Tree, objects: Objects, *, metadata: bool) -> None:
        self._tree = tree
        self._objects = objects
        self._metadata = metadata
        self._lock = threading.Lock()
        self._scans: OrderedDict[tuple[str, str, str], _Scan] = OrderedDict()
        self._serial = 0
        self.windows = 0

    def page(self, prefix: str, delimiter: str, token: str | None, limit: int) -> ListPage:
        """At most `limit` entries after the token. Raises StoreError for a delimiter other than "" and "/"."""
        if delimiter not in ("", "/"):
            raise StoreError(f"delimiter {delimiter!r} is not supported, only '/'")
        scan = self._resume(prefix, delimiter, token)
        objects: list[ObjectInfo] = []
        prefixes: list[Key] = []
        last = ""
        with _Entries(self._tree, self._objects, metadata=self._metadata) as entries:
            for key in scan:
                rolled = bool(delimiter) and key.endswith("/") and key != prefix
                info = None if rolled else entries.info(Key(key))
                if info is None and not (rolled and entries.has_directory(key)):
                    continue
                if len(objects) + len(prefixes) >= max(1, min(limit, PAGE_MAX)):
                    scan.ahead = key
                    return ListPage(objects, prefixes, self._keep(prefix, delimiter, last, scan))
                last = key
                if info is None:
                    prefixes.append(Key(key))
                else:
                    objects.append(info)
        return ListPage(objects, prefixes)

    def _resume(self, prefix: str, delimiter: str, token: str | None) -> _Scan:
        with self._lock:
            scan = self._scans.pop((prefix, delimiter, token or ""), None)
        if scan is not None and time.monotonic() - scan.kept < _EXPIRY:
            return scan
        after = token.partition(".")[2] if token else ""
        return _Scan(self._start(prefix, after, deep=not delimiter))

    def _keep(self, prefix: str, delimiter: str, last: str, scan: _Scan) -> str:
        """The token that stands for "after `last`", under which the rest can be found."""
        scan.kept = time.monotonic()
        with self._lock:
            self._serial += 1
            token = f"{self._serial:x}.{last}"
            self._scans[prefix, delimiter, token] = scan
            while len(self._scans) > _KEPT:
                self._scans.popitem(last=False)
        return token

    def _start(self, prefix: str, after: str, *, deep: bool) -> Iterator[str]:
        base = prefix[: prefix.rfind("/") + 1]
        steps = base.split("/")[:-1]
        if steps[:1] == [PRIVATE] or not is_text(prefix) or not all(map(is_component, steps)):
            return  # no key can start like this
        if base and base == prefix and base > after:
            yield base
        yield from self._walk(base, prefix[len(base) :], after, deep=deep)

    def _walk(self, base: str, partial: str, after: str, *, deep: bool) -> Iterator[str]:
        """Keys behind `after` that start with `base` + `partial`, in order; with `deep` also those below."""
        low = after[len(base) :] if after.startswith(base) else ""
        if deep and "/" in low:
            low = low[: low.index("/") + 1]
        while names := self._window(base, partial, low):
            for name in names:
                key = base + name
                if key > after:
                    yield key
                if deep and name.endswith("/"):
                    yield from self._walk(key, "", after, deep=True)
            if len(names) < WINDOW:
                return
            low = names[-1] + "\0"

    def _window(self, base: str, partial: str, low: str) -> list[str]:
        """The next names, from `low` on, in order; those of directories end in `/`."""
        names: list[str] = []
        high = ""
        room = KEY_MAX - len(base.encode())
        try:
            with self._tree.directory(base.split("/")[:-1]) as fd, os.scandir(fd) as entries:
                self.windows += 1
                for entry in entries:
                    name = entry.name
                    if not name.startswith(partial) or not is_text(name) or len(name.encode()) > room:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        name += "/"
                    elif not entry.is_file(follow_symlinks=False):
                        continue
                    if name < low or (high and name > high) or (not base and name == PRIVATE + "/"):
                        continue
                    names.append(name)
                    if len(names) >= 2 * WINDOW:
                        names.sort()
                        del names[WINDOW:]
                        high = names[-1]
        except (FileNotFoundError, NotADirectoryError):
            return []
        names.sort()
        return names[:WINDOW]


class _Entries:
    """Looks at the entries of a page; neighbours share the descriptor of their directory."""

    def __init__(self, tree: Tree, objects: Objects, *, metadata: bool) -> None:
        self._tree = tree
        self._objects = objects
        self._metadata = metadata
        self._stack = ExitStack()
        self._base: str | None = None
        self._fd = -1

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def has_directory(self, key: str) -> bool:
        fd, name = self._parent(key.removesuffix("/"))
        status = lstat(fd, name) if fd >= 0 else None
        return status is not None and stat.S_ISDIR(status.st_mode)

    def info(self, key: Key) -> ObjectInfo | None:
        """None for what is not, or no longer, an object."""
        if key.endswith("/"):
            info = self._marker(key)
        else:
            info = self._file(key)
        return info if info is None or self._metadata else replace(info, meta=None)

    def _file(self, key: Key) -> ObjectInfo | None:
        parent, name = self._parent(key)
        if parent < 0:
            return None
        try:
            if self._metadata:
                fd, status = open_file(parent, name)
                try:
                    return self._objects.info(key, fd, status)
                finally:
                    os.close(fd)
        except FileNotFoundError:
            return self._again(key)
        except PermissionError:
            pass  # someone's unreadable file: it is there all the same
        found = lstat(parent, name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return ObjectInfo(key, found.st_size, etag_of(found), found.st_mtime_ns, ObjectMeta())

    def _again(self, key: Key) -> ObjectInfo | None:
        """An entry that vanished, or was replaced while it was looked at."""
        try:
            return self._objects.head(key)
        except ObjectNotFound:
            return None

    def _marker(self, key: Key) -> ObjectInfo | None:
        parent, name = self._parent(key.removesuffix("/"))
        if parent < 0:
            return None
        try:
            fd = open_directory(parent, name)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        try:
            return self._objects.markers.info(fd, key)
        finally:
            os.close(fd)

    def _parent(self, path: str) -> tuple[int, str]:
        """The directory of an entry (-1 if it vanished) and its name there."""
        base, _, name = path.rpartition("/")
        if base != self._base:
            self._stack.close()
            self._base, self._fd = base, -1
            with suppress(FileNotFoundError, NotADirectoryError):
                self._fd = self._stack.enter_context(self._tree.directory(base.split("/") if base else ()))
        return self._fd, name
