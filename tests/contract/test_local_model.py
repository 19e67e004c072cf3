"""Random changes to the embedded store and to the memory store at once: same answers, errors and state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.stores import DISK_LIKE
from tests.fakes import MemoryStore
from vfs.errors import VfsError
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.store.local import LocalStore
from vfs.types import Key

PATHS = ["a", "b", "a/a", "a/b", "b/a", "a/a/a", "c/a/b"]
KEYS = st.sampled_from([*PATHS, *(path + "/" for path in PATHS)])
METAS = st.sampled_from(
    [ObjectMeta(), ObjectMeta({"n": "1", "mtime": "5"}, "text/plain"), ObjectMeta({"n": "2"})]
)

Change = Callable[[ObjectStore], Awaitable[object]]


def fits(store: MemoryStore, key: str) -> bool:
    """A disk has no room for a file and a directory of one name."""
    path = key.rstrip("/")
    for other in store.stored():
        if other != key and (path == other.rstrip("/") or path.startswith(other + "/")):
            return False
        if not key.endswith("/") and other.startswith(path + "/"):
            return False
    return True


def body(key: str, data: bytes) -> list[bytes]:
    return [] if key.endswith("/") else [data]


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Any, Any]:
    """A kind of change, its arguments, and the key that comes into being (None: none does)."""
    kind = draw(st.sampled_from(["put", "put", "create", "copy", "annotate", "delete", "rename", "upload"]))
    one, other, meta = draw(KEYS), draw(KEYS), draw(METAS)
    data = draw(st.binary(max_size=3))
    if kind in ("copy", "rename") and one.endswith("/") != other.endswith("/"):
        other = other.rstrip("/") + "/" * one.endswith("/")
    if kind == "upload":
        one = one.rstrip("/")
    return kind, (one, other, meta, data), {"delete": None, "copy": other, "rename": other}.get(kind, one)


async def apply(store: ObjectStore, kind: str, one: Key, other: Key, meta: ObjectMeta, data: bytes) -> object:
    match kind:
        case "put":
            return (await store.put(one, body(one, data), meta)).size
        case "create":
            return (await store.put(one, body(one, data), meta, if_absent=True)).meta
        case "copy":
            return (await store.copy(one, other, meta if data else None)).meta if one != other else None
        case "annotate":
            return (await store.copy(one, one, meta)).meta
        case "delete":
            return await store.delete(one)
        case "rename":
            return await store.rename(one, other)
    upload = await store.create_upload(one, meta)
    parts = [await store.upload_part(upload, number + 1, [data]) for number in range(bool(data) + 1)]
    return (await store.complete_upload(upload, parts)).size


async def outcome(store: ObjectStore, kind: str, arguments: Any) -> object:
    try:
        return await apply(store, kind, *arguments)
    except VfsError as error:
        return type(error)


async def state(store: ObjectStore) -> list[object]:
    seen: list[object] = list((await store.list("", delimiter="/")).prefixes)
    for info in (await store.list("")).objects:
        got = await store.get(info.key)
        assert (got.info.etag, got.info.meta) == (info.etag, info.meta)
        seen.append((info.key, bytes(got.data), info.meta))
    return seen


@pytest.mark.parametrize("xattr", [True, False])
@given(script=st.lists(changes(), max_size=25))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
async def test_behaves_as_memory_does(
    tmp_path_factory: pytest.TempPathFactory, xattr: bool, script: list[tuple[str, Any, Any]]
) -> None:
    disk = LocalStore(tmp_path_factory.mktemp("store"), fsync=False, xattr=xattr)
    memory = MemoryStore(DISK_LIKE)
    for kind, arguments, made in script:
        if made is not None and not fits(memory, made):
            continue
        expected = await outcome(memory, kind, arguments)
        assert await outcome(disk, kind, arguments) == expected, f"{kind} {arguments}"
        assert await state(disk) == await state(memory), f"after {kind} {arguments}"
    await disk.aclose()
