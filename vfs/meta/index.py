"""A directory's attributes in one object, for mounts that come to it cold (decisions/0011).

A listing of S3 tells names, sizes, times and etags, and nothing of modes, owners and links. An index is what some
mount found out by asking for every file: an object under `.agentfs/index/`, read with one GET, not a HEAD per file.

It cannot mislead. Each row holds for one version, the etag and the time of it that a listing tells, and is used only
where the listing at hand tells the same. Listings have whole seconds, and a chmod keeps the etag; so only versions
are written that were old when the store told of them: whatever changed the file later has another time.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
import trio

from vfs.errors import NameTooLong, StoreError
from vfs.layout import Layout
from vfs.meta.entry import Entry
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.types import Attr, ETag

log = structlog.get_logger()

FORMAT = 1

LEAST = 64
"""Files of which nothing was known that make an index worth its while: fewer are asked for in two round trips."""

SETTLED_NS = 902_000_000_000
"""Age of a version that is old. S3 refuses requests of a clock that is off by over 15 minutes."""

META = ObjectMeta(content_type="application/octet-stream")


class Indexes:
    """Of one user's directories."""

    def __init__(self, store: ObjectStore, layout: Layout) -> None:
        self._store = store
        self._layout = layout

    async def load(self, path: str) -> Mapping[str, Entry]:
        """Name -> attributes of a version; nothing where there is no index, or none that can be read."""
        try:
            got = await self._store.get(self._layout.private_key("index", path))
            return await trio.to_thread.run_sync(_decoded, bytes(got.data))
        except (StoreError, NameTooLong, ValueError, KeyError, TypeError, zlib.error) as error:
            log.debug("no index", path=path, error=str(error))
            return {}

    async def save(self, path: str, entries: Mapping[str, Entry]) -> None:
        """Failures are nobody's concern: the next mount asks for every file, as this one did."""
        try:
            body = await trio.to_thread.run_sync(_encoded, entries)
            await self._store.put(self._layout.private_key("index", path), [body], META)
        except (StoreError, NameTooLong) as error:
            log.info("index not stored", path=path, error=str(error))


def settled(entry: Entry) -> bool:
    """The row of this version will never be wrong."""
    return entry.exact and 0 < entry.modified_ns < time.time_ns() - SETTLED_NS and not entry.attr.is_dir


def _encoded(entries: Mapping[str, Entry]) -> bytes:
    rows = {name: _row(entry) for name, entry in entries.items()}
    return zlib.compress(json.dumps({"format": FORMAT, "names": rows}, separators=(",", ":")).encode(), 1)


def _row(entry: Entry) -> list[Any]:
    attr = entry.attr
    row: list[Any] = [entry.etag, entry.modified_ns, attr.mode, attr.uid, attr.gid, attr.size]
    row += [attr.mtime_ns, attr.ctime_ns, attr.atime_ns, attr.rdev]
    if attr.xattrs:
        row.append({name: base64.b64encode(value).decode() for name, value in attr.xattrs.items()})
    return row


def _decoded(data: bytes) -> dict[str, Entry]:
    """Raises ValueError, KeyError, TypeError, zlib.error for what this is not."""
    content = json.loads(zlib.decompress(data))
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}")
    entries = {}
    for name, (etag, modified_ns, *fields) in content["names"].items():
        mode, uid, gid, size, mtime_ns, ctime_ns, atime_ns, rdev = map(int, fields[:8])
        attr = Attr(mode, uid, gid, size, mtime_ns, ctime_ns, atime_ns, rdev)
        if fields[8:]:
            attr = replace(attr, xattrs={key: base64.b64decode(text) for key, text in fields[8].items()})
        entries[str(name)] = Entry(attr, ETag(str(etag)), modified_ns=int(modified_ns), exact=True)
    return entries
