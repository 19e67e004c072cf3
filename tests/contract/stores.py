"""The stores that the contract suite runs on, and how its tests look at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.servers.server import Server
from vfs.store.base import ObjectInfo, ObjectMeta, ObjectStore
from vfs.store.breaker import Breaker
from vfs.store.layers import Deadline, Limit
from vfs.store.local import LocalStore
from vfs.store.metered import Metered
from vfs.store.retry import Retry
from vfs.store.s3.keys import Keys
from vfs.store.s3.probe import Findings
from vfs.types import Key

META = ObjectMeta({"mode": "33188", "mtime": "1700000000.123456789"}, "text/plain")
BARE = ObjectMeta()

DISK_LIKE = replace(S3_LIKE, rename=True, exchange=True, list_metadata=True, late_meta=True)

MAKERS: Mapping[str, Callable[[Path], ObjectStore]] = {
    "memory": lambda root: MemoryStore(),
    "memory-disk-like": lambda root: MemoryStore(DISK_LIKE),
    "local": lambda root: LocalStore(root, fsync=False),
    "local-plain": lambda root: LocalStore(root, fsync=False, native=False),
    "local-sidecars": lambda root: LocalStore(root, fsync=False, xattr=False),
    "local-durable": LocalStore,
    "faults-off": lambda root: FaultStore(MemoryStore()),
    "layers": lambda root: Metered(Retry(Breaker(Limit(Deadline(MemoryStore(), 60.0), 4), 60.0), 60.0)),
}

SERVERS: Mapping[str, Callable[[pytest.FixtureRequest], Server]] = {
    "s3": lambda request: request.getfixturevalue("s3"),
    "s3-restricted": lambda request: request.getfixturevalue("s3"),
    "swift": lambda request: request.getfixturevalue("swift").server,
}
"""S3 stores, by the server they are on; each store is a prefix of its own in the server's bucket."""

Order = Callable[[str], bytes]
ORDERS: Mapping[str, Order] = {
    "s3-restricted": lambda key: Keys(restricted=True).stored_prefix(key).encode(),
}
"""By what listings are sorted, where it is not the key itself."""

FINDINGS: Mapping[str, Findings] = {
    "swift": Findings(if_match=False, conditional_complete=False, max_parts=1000)
}
"""What they lack; `test_s3_start.py` holds that the probe finds it."""

OPTIONS: Mapping[str, Mapping[str, str]] = {"s3-restricted": {"keys": "restricted"}}
"""Options of their URLs."""

AS_S3 = (*MAKERS, *(name for name in SERVERS if name != "swift"))
"""Stores that lack nothing of S3. Swift has no If-Match, parts of 5 MiB at least and 1,000 at most, takes parts of a
completed upload, and cuts a range to copy where the source ends."""

RENAMING = ("memory-disk-like", "local", "local-sidecars", "local-durable")
EXCHANGING = ("memory-disk-like", "local", "local-durable")
LOCAL = ("local", "local-plain", "local-sidecars")


async def put(store: ObjectStore, key: str, data: bytes = b"", meta: ObjectMeta = BARE) -> ObjectInfo:
    return await store.put(Key(key), [data], meta)


async def read(store: ObjectStore, key: str) -> bytes:
    return bytes((await store.get(Key(key))).data)


async def keys(store: ObjectStore, prefix: str = "", limit: int = 1000) -> list[str]:
    """All keys under the prefix, page by page."""
    found: list[str] = []
    token = None
    while True:
        page = await store.list(prefix, token=token, limit=limit)
        found += [info.key for info in page.objects]
        if page.token is None:
            return found
        token = page.token
