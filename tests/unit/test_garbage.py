"""What killed mounts leave behind: found by age, removed, and data given a name again."""

from __future__ import annotations

import contextlib

import pytest
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.unit.disk import key, mounted, stored
from vfs.core.garbage import Garbage, Kind, exchange_key, recovered_key, rename_key
from vfs.errors import StoreUnavailable
from vfs.layout import Layout
from vfs.store.base import ObjectMeta
from vfs.types import Key

LAYOUT = Layout("u1")
META = ObjectMeta({"mode": "33188"})


async def littered() -> MemoryStore:
    store = MemoryStore(S3_LIKE)
    await store.create_upload(key("workspace/big"), META)
    await store.create_upload(Key("users/u2/workspace/big"), META)
    await store.put(LAYOUT.private_key("orphans", "0123", "7"), [b"nameless"], META)
    await store.put(LAYOUT.private_key("probe-77"), [b""], META)
    await store.put(rename_key(LAYOUT, "89ab"), (), META)
    await store.put(LAYOUT.private_key("format"), [b"{}"], META)
    await store.put(key("workspace/kept"), [b"kept"], META)
    return store


async def test_what_is_old_is_removed_and_nothing_else() -> None:
    store = await littered()
    done = await Garbage(store, LAYOUT).collect(older_than=-1)
    assert done.removed == {Kind.UPLOAD: 1, Kind.ORPHAN: 1, Kind.PROBE: 1, Kind.RENAME: 1}
    assert not done.failed
    assert store.stored() == [LAYOUT.private_key("format"), key("workspace/kept")]
    assert [upload.key for upload in await store.list_uploads("")] == ["users/u2/workspace/big"]


async def test_what_is_young_may_be_in_use() -> None:
    store = await littered()
    before = store.stored()
    assert (await Garbage(store, LAYOUT).collect(older_than=60)).removed == {}
    assert store.stored() == before
    assert len(await store.list_uploads("")) == 2


async def test_what_cannot_be_removed_is_told_and_the_rest_goes_on() -> None:
    store = FaultStore(await littered())
    store.fail_before("abort_upload")
    done = await Garbage(store, LAYOUT).collect(older_than=-1)
    assert [item.kind for item, _ in done.failed] == [Kind.UPLOAD]
    assert done.removed == {Kind.ORPHAN: 1, Kind.PROBE: 1, Kind.RENAME: 1}


@pytest.mark.parametrize(
    ("path", "inside", "expected"),
    [
        ("workspace/f", "", "workspace/f.recovered-"),
        ("workspace/a/b/f-1", "", "workspace/a/b/f-1.recovered-"),
        ("workspace/d", "/x/y", "workspace/d.recovered-*/x/y"),
        ("workspace/d", "/", "workspace/d.recovered-*/"),
    ],
)
def test_where_data_of_an_exchange_is_recovered(path: str, inside: str, expected: str) -> None:
    place = Key(exchange_key(LAYOUT, path) + inside)
    found = LAYOUT.path(recovered_key(LAYOUT, place)) + ("/" if inside == "/" else "")
    before, _, after = expected.partition("*")
    assert found.startswith(before)
    assert found.endswith(after)
    assert found.count("/") == expected.count("/")


@pytest.mark.parametrize("calls", range(1, 7))
async def test_an_exchange_that_was_cut_short_loses_nothing(calls: int, autojump_clock: MockClock) -> None:
    """Wherever it stops, both contents are in the mount after a collection."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.mkdir("workspace/d")
        await disk.save("workspace/d/in", b"directory's")
        await disk.save("workspace/f", b"file's")
        await disk.find("workspace/d")
        seen = 0

        inner = store.around

        async def around(call, thunk):  # type: ignore[no-untyped-def]
            nonlocal seen
            if call.name in ("copy", "delete", "delete_many"):
                seen += 1
                if seen == calls:
                    raise StoreUnavailable("killed")
            if seen >= calls:
                raise StoreUnavailable("killed")
            return await inner(call, thunk)

        store.around = around  # type: ignore[method-assign]
        with contextlib.suppress(StoreUnavailable):
            await disk.rename("workspace/f", "workspace/d", 2)
        store.around = inner  # type: ignore[method-assign]
    await Garbage(store, LAYOUT).collect(older_than=-1)
    async with mounted(store) as disk:
        contents = {
            await stored(store, path) for path in await disk.tree() if not (await disk.stat(path)).attr.is_dir
        }
    assert contents == {b"directory's", b"file's"}
