"""Parts of the embedded store: where they lie, and that a large object is not written twice."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.contract.stores import BARE, META, put, read
from vfs.errors import PreconditionFailed, StoreFull
from vfs.store.base import Part, Upload
from vfs.store.local import LocalStore
from vfs.types import Key

KEY = Key("dir/object")
SIZE = 10_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path, fsync=False)
    yield store
    await store.aclose()


def files(store: LocalStore, upload: Upload) -> dict[str, os.stat_result]:
    directory = store.root / ".agentfs-store/uploads" / upload.id
    return {path.name: path.stat() for path in directory.iterdir() if path.suffix != ".json"}


async def test_a_stream_of_equal_parts_is_written_once(store: LocalStore) -> None:
    """In any order and with a shorter last one: completing it is a rename of the file they were written to."""
    upload = await store.create_upload(KEY, META)
    parts: dict[int, Part] = {}

    async def send(number: int, size: int) -> None:
        parts[number] = await store.upload_part(upload, number, [b"%d" % number * size])

    async with trio.open_nursery() as nursery:
        for number in (3, 2, 4, 1):
            nursery.start_soon(send, number, SIZE)
    await send(5, 17)
    (data,) = files(store, upload).values()
    stored = await store.complete_upload(upload, [parts[number] for number in sorted(parts)])
    assert (store.root / KEY).stat().st_ino == data.st_ino
    assert stored.size == 4 * SIZE + 17
    assert await read(store, KEY) == b"".join(b"%d" % n * (17 if n == 5 else SIZE) for n in range(1, 6))


@pytest.mark.parametrize(
    "sizes",
    [
        {1: 10, 2: 20, 3: 30},
        {2: 20, 1: 10},
        {1: 10, 2: 5, 3: 10},
        {1: 10, 2: 0},
        {3: 10, 5: 10},
        {1: 10, 100: 10, 2: 10},
    ],
)
async def test_other_parts_are_put_together(store: LocalStore, sizes: dict[int, int]) -> None:
    upload = await store.create_upload(KEY, META)
    parts = {n: await store.upload_part(upload, n, [bytes([n]) * size]) for n, size in sizes.items()}
    await store.complete_upload(upload, [parts[n] for n in sorted(parts)])
    assert await read(store, KEY) == b"".join(bytes([n]) * sizes[n] for n in sorted(sizes))


async def test_parts_that_are_replaced_or_left_out(store: LocalStore) -> None:
    upload = await store.create_upload(KEY, META)
    parts = [await store.upload_part(upload, n, [bytes([n]) * SIZE]) for n in (1, 2, 3)]
    parts[1] = await store.upload_part(upload, 2, [b"x" * SIZE])
    parts[1] = await store.upload_part(upload, 2, [b"y" * SIZE])
    assert len(files(store, upload)) == 2, "the first replacement is gone"
    await store.complete_upload(upload, parts[:2])
    assert await read(store, KEY) == b"\1" * SIZE + b"y" * SIZE


async def test_copied_parts_are_links_until_the_end(store: LocalStore) -> None:
    """A patch in the middle of a large object copies it once, and the source may be replaced meanwhile."""
    base = await put(store, KEY, bytes(range(250)) * 40, META)
    inode = (store.root / KEY).stat().st_ino
    upload = await store.create_upload(KEY, META)
    parts = [
        await store.copy_part(upload, 1, KEY, 0, 4000, if_match=base.etag),
        await store.upload_part(upload, 2, [b"x" * 10]),
        await store.copy_part(upload, 3, KEY, 4010, 5990, if_match=base.etag),
    ]
    assert [status.st_ino for status in files(store, upload).values()].count(inode) == 2
    await put(store, KEY, b"replaced", META)
    await store.complete_upload(upload, parts)
    whole = bytes(range(250)) * 40
    assert await read(store, KEY) == whole[:4000] + b"x" * 10 + whole[4010:]
    assert (store.root / KEY).stat().st_nlink == 1


async def test_a_source_that_was_edited_in_place(store: LocalStore) -> None:
    await put(store, "source", b"0123456789", META)
    upload = await store.create_upload(KEY, META)
    part = await store.copy_part(upload, 1, Key("source"), 2, 5)
    with (store.root / "source").open("r+b") as edited:
        edited.write(b"##########")
    with pytest.raises(PreconditionFailed, match="edited in place"):
        await store.complete_upload(upload, [part])
    await store.abort_upload(upload)
    assert (store.root / "source").stat().st_nlink == 1


async def test_another_process_can_go_on(store: LocalStore) -> None:
    upload = await store.create_upload(KEY, META)
    parts = [await store.upload_part(upload, n, [bytes([n]) * SIZE]) for n in (1, 2)]
    other = LocalStore(store.root, fsync=False)
    (found,) = await other.list_uploads("dir/")
    assert list(await other.list_parts(found)) == parts
    parts.append(await other.upload_part(found, 3, [b"\3" * SIZE]))
    await other.complete_upload(found, parts)
    assert await read(store, KEY) == b"\1" * SIZE + b"\2" * SIZE + b"\3" * SIZE
    await other.aclose()


async def test_a_part_that_failed_can_come_again(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await store.create_upload(KEY, BARE)
    one = await store.upload_part(upload, 1, [b"1" * SIZE])
    with monkeypatch.context() as broken:
        broken.setattr(os, "writev", _no_room)
        with pytest.raises(StoreFull):
            await store.upload_part(upload, 2, [b"2" * SIZE])
    assert list(await store.list_parts(upload)) == [one]
    two = await store.upload_part(upload, 2, [b"2" * SIZE])
    assert list(files(store, upload)) == ["data"]
    await store.complete_upload(upload, [one, two])
    assert await read(store, KEY) == b"1" * SIZE + b"2" * SIZE


def _no_room(*arguments: object) -> int:
    raise OSError(28, "No space left on device")
