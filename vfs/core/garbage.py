"""What a mount that was killed leaves in the store, and who clears it away.

    uploads     multipart uploads that nobody will complete: the parts cost room and money, and no listing shows them
    orphans     files that lost their name while a program had them open, kept for it under `.agentfs/orphans/`
    exchanged   one side of a RENAME_EXCHANGE that was cut short: data, so it gets a name again beside its old one
    renames     notes that the rename of a directory was begun, by which a second try knows that it is one
    probes      objects by which a store was tried out

Only age tells whether a mount still uses them: neither has a heartbeat, as each would cost a request per upload. So
nothing is touched that is younger than a bound, which is generous where a mount clears up by itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from vfs.errors import ObjectNotFound, StoreError, VfsError
from vfs.layout import Layout
from vfs.store.base import ObjectStore, Upload
from vfs.store.copying import copy_object
from vfs.types import Key

log = structlog.get_logger()

NANO = 1_000_000_000

DAY = 86_400.0

AT_MOUNT = 7 * DAY
"""Seconds after which a mount takes what it finds for garbage: no program writes or reads one file for so long."""


class Kind(StrEnum):
    UPLOAD = "upload"
    ORPHAN = "orphan"
    EXCHANGED = "exchanged"
    RENAME = "rename"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing left behind. `age` in seconds; `size` in bytes, None where the store does not tell."""

    kind: Kind
    key: Key
    age: float
    size: int | None
    upload: Upload | None = None


@dataclass(slots=True)
class Collected:
    """How many of each kind were removed, or would be; and what could not be, with the reason."""

    removed: dict[Kind, int] = field(default_factory=dict)
    failed: list[tuple[Item, VfsError]] = field(default_factory=list)


class Garbage:
    """Of one user."""

    def __init__(self, store: ObjectStore, layout: Layout) -> None:
        self._store = store
        self._layout = layout
        self._kinds = {
            layout.private_key("orphans") + "/": Kind.ORPHAN,
            layout.private_key("exchange") + "/": Kind.EXCHANGED,
            layout.private_key("renames") + "/": Kind.RENAME,
            layout.private_key("probe-"): Kind.PROBE,
        }

    async def find(self, older_than: float) -> AsyncIterator[Item]:
        """Everything older than so many seconds, by the store's own clock as far as it tells."""
        now = time.time_ns()
        for upload in await self._store.list_uploads(self._layout.prefix):
            age = (now - upload.begun_ns) / NANO
            if age > older_than:
                yield Item(Kind.UPLOAD, upload.key, age, None, upload)
        for prefix, kind in self._kinds.items():
            token: str | None = None
            while True:
                page = await self._store.list(prefix, token=token)
                for info in page.objects:
                    age = (now - info.modified_ns) / NANO
                    if age > older_than:
                        yield Item(kind, info.key, age, info.size)
                token = page.token
                if token is None:
                    break

    async def collect(self, older_than: float) -> Collected:
        """Removes it. What fails is told and left for another time."""
        done = Collected()
        async for item in self.find(older_than):
            try:
                await self.remove(item)
            except StoreError as error:
                done.failed.append((item, error))
                log.info("garbage stays", kind=item.kind, key=item.key, error=str(error))
            else:
                done.removed[item.kind] = done.removed.get(item.kind, 0) + 1
        return done

    async def remove(self, item: Item) -> None:
        """Raises StoreError."""
        if item.upload is not None:
            await self._store.abort_upload(item.upload)
        elif item.kind == Kind.EXCHANGED:
            await self._recover(item.key)
        else:
            await self._store.delete(item.key)
        log.info("garbage removed", kind=item.kind, key=item.key, age=round(item.age))

    async def _recover(self, key: Key) -> None:
        try:
            info = await self._store.head(key)
        except ObjectNotFound:
            return
        await copy_object(self._store, info, recovered_key(self._layout, key))
        await self._store.delete(key)


def exchange_key(layout: Layout, path: str) -> Key:
    """Where the file or directory at `path` waits while another takes its name."""
    depth = path.count("/") + 1
    return layout.private_key("exchange", f"{secrets.token_hex(8)}-{depth}", path)


def rename_key(layout: Layout, digest: str) -> Key:
    """Where it is noted that a rename was begun; `digest` is of both ends."""
    return layout.private_key("renames", digest)


def recovered_key(layout: Layout, key: Key) -> Key:
    """`PATH.recovered-TOKEN` for what an exchange left at `exchange_key`; below that, what is in a directory."""
    token, *names = key[len(layout.private_key("exchange")) + 1 :].split("/")
    token, _, depth = token.partition("-")
    place = int(depth) - 1 if depth.isdecimal() else 0
    names[place] = f"{names[place]}.recovered-{token}"
    return layout.file_key("/".join(names))
