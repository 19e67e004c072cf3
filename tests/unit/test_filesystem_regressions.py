"""Corners in which data, room or names were once lost."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import FaultStore, MemoryStore
from tests.unit.disk import key, mounted
from vfs.core.handles import TooManyOpen
from vfs.data.budget import Budget
from vfs.data.content import Content
from vfs.data.read_ahead import IDLE_SECONDS, ReadAhead
from vfs.data.reader import FIRST_WINDOW, Reader
from vfs.data.snapshot import Base
from vfs.errors import AttributesTooBig, StoreError, StoreUnavailable
from vfs.meta.attrs import content_type
from vfs.store.base import ObjectMeta
from vfs.store.retry import Retry
from vfs.types import Attr, ETag, Key

PART = 32


async def test_a_file_truncated_after_it_was_streamed_and_unlinked_is_gone() -> None:
    store = MemoryStore()
    async with mounted(store, part_size=PART) as disk:
        fh = await disk.create("workspace/f")
        for at in range(0, 6 * PART, PART):
            await disk.write(fh, at, b"x" * PART)
            await trio.testing.wait_all_tasks_blocked()
        await disk.change("workspace/f", fh, size=PART + 1)
        await disk.unlink("workspace/f")
        assert await disk.read(fh) == b"x" * (PART + 1)
        await disk.close(fh)
        disk.check_idle()
    assert [info.key for info in (await store.list("")).objects] == [key("memory/"), key("workspace/")]


async def test_a_put_whose_answer_was_lost_does_not_bring_back_an_unlinked_file() -> None:
    store = FaultStore(MemoryStore())
    async with mounted(store) as disk:
        fh = await disk.create("workspace/f")
        await disk.write(fh, 0, b"data")
        store.fail_after_apply("put", keys="workspace/f")
        with pytest.raises(StoreUnavailable):
            await disk.fs.fsync(fh)
        await disk.unlink("workspace/f")
        with pytest.raises(StoreUnavailable):
            await disk.close(fh)
        assert await disk.find("workspace/f") is None
        disk.check_idle()
    assert not (await store.list(key("workspace/f"))).objects


async def test_a_new_file_keeps_its_place_when_its_directory_was_deleted_elsewhere(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with mounted(store, workspace_ttl=10.0) as disk:
        await disk.mkdir("workspace/d")
        await disk.fs.late.store_all()
        fh = await disk.create("workspace/d/f")
        await disk.write(fh, 0, b"kept")
        await disk.fs.late.store_all()
        await store.delete(key("workspace/d/"))
        await trio.sleep(20)
        assert await disk.find("workspace/d") is not None
        await disk.close(fh)
        assert bytes((await store.get(key("workspace/d/f"))).data) == b"kept"


async def test_a_file_that_could_not_be_opened_was_not_created() -> None:
    async with mounted(max_handles=1) as disk:
        fh = await disk.create("workspace/one")
        with pytest.raises(TooManyOpen):
            await disk.create("workspace/two")
        assert await disk.find("workspace/two") is None
        await disk.close(fh)
        disk.check_idle()


def test_attributes_that_do_not_fit_leave_the_content_as_it_was() -> None:
    class TooBig:
        def keys(self) -> tuple[Key, ...]:
            return (Key("k"),)

        def meta(self) -> ObjectMeta:
            raise AttributesTooBig("too big")

    content = Content(TooBig(), Budget(1 << 20, 1.0), PART, None)
    content.write(0, b"data")
    with pytest.raises(AttributesTooBig):
        content.freeze(10_000)
    assert content.frozen is None
    assert content.dirty
    assert b"".join(bytes(piece.data or b"") for piece in content.pieces(0, 4)) == b"data"
    content.check()


async def test_reading_back_and_forth_leaks_no_room(autojump_clock: MockClock) -> None:
    """A second window over the same offsets replaces what the first one left."""
    store = MemoryStore()
    size = 16 * FIRST_WINDOW
    info = await store.put(Key("k"), [bytes(size)], ObjectMeta())
    budget = Budget(1 << 30, 1.0)
    subject: Any = SimpleNamespace(keys=lambda: (Key("k"),), meta=ObjectMeta)
    content = Content(subject, budget, 1 << 20, Base(Key("k"), ETag(info.etag), size))
    async with trio.open_nursery() as nursery:
        reader = Reader(store, ReadAhead(budget, nursery.start_soon, 8 * FIRST_WINDOW))
        step = FIRST_WINDOW // 2
        for _ in range(3):
            for at in range(0, size, step):
                assert len(await reader.read(content, at, step)) == step
        reader.close()
        content.forget()
    assert budget.used == 0
    budget.check()


async def test_who_stopped_reading_gives_its_room_to_who_reads(autojump_clock: MockClock) -> None:
    """And what nobody will read is not fetched on."""
    store = FaultStore(MemoryStore())
    size = 16 * FIRST_WINDOW
    info = await store.put(Key("k"), [bytes(size)], ObjectMeta())
    budget = Budget(4 * FIRST_WINDOW, 1.0)
    subject: Any = SimpleNamespace(keys=lambda: (Key("k"),), meta=ObjectMeta)
    content = Content(subject, budget, 1 << 20, Base(Key("k"), ETag(info.etag), size))
    step = FIRST_WINDOW // 2
    async with trio.open_nursery() as nursery:
        ahead = ReadAhead(budget, nursery.start_soon, 2 * FIRST_WINDOW)
        idle, busy = Reader(store, ahead), Reader(store, ahead)
        for at in (0, step, 2 * step):
            await idle.read(content, at, step)
        await trio.sleep(IDLE_SECONDS + 1)
        held = budget.used
        assert held > budget.limit // 4
        store.slow("get", seconds=5)
        for at in (0, step, 2 * step):
            await busy.read(content, at, step)
        assert not idle._segments
        assert busy._segments
        busy.close()
        began = trio.current_time()
    assert trio.current_time() == began, "what was dropped is not waited for"
    assert budget.used == 0


@pytest.mark.parametrize("size", [100, 3 << 20], ids=["read whole", "read in ranges"])
async def test_what_is_cut_on_its_way_is_read_again(size: int, autojump_clock: MockClock) -> None:
    """And where all of it is cut, always, that is an error of the store and no other version of the file."""
    faults = FaultStore(MemoryStore())
    data = os.urandom(size)
    async with mounted(Retry(faults, 60.0)) as disk:
        await faults.put(key("workspace/f"), [data], ObjectMeta())
        fh = await disk.open("workspace/f", os.O_RDONLY)
        faults.truncate(keys="workspace/f")
        assert await disk.read(fh) == data
        await disk.close(fh)
        await disk.fs.ask_again("")
    async with mounted(Retry(faults, 60.0)) as disk:
        fh = await disk.open("workspace/f", os.O_RDONLY)
        faults.truncate(keys="workspace/f", count=None)
        with pytest.raises(StoreError) as caught:
            await disk.read(fh)
        assert caught.value.errno == errno.EIO
        faults.clear()
        assert await disk.read(fh) == data
        await disk.close(fh)


async def test_flags_of_an_exclusive_create_do_not_matter_to_a_free_name() -> None:
    async with mounted() as disk:
        await disk.close(await disk.create("workspace/f", os.O_RDWR | os.O_CREAT | os.O_EXCL))
        assert await disk.listdir("workspace") == ["f"]


def test_a_name_is_not_taken_for_a_url() -> None:
    """`data:a/b,` is a file's name; what it says must not get into a header."""
    attr = Attr(0o100644, 0, 0, 0, 0, 0, 0)
    assert content_type(attr, "data:text\nX-Evil: 1,") == "application/octet-stream"
    assert content_type(attr, "data:page.html") == "text/html"


async def test_entries_that_nobody_took_leave_no_inodes() -> None:
    """The kernel's buffer holds fewer than are looked up at once."""
    async with mounted() as disk:
        for number in range(20):
            await disk.save(f"workspace/{number}", b"")
        disk.forget_all()
        directory = await disk.walk("workspace")
        before = disk.fs.table.statistics().inodes
        fh = await disk.fs.opendir(directory.ino)
        seen = disk.fs.entries(fh, 2)
        assert (await anext(seen))[0] == b"0"
        await seen.aclose()
        await disk.fs.releasedir(fh)
        assert disk.fs.table.statistics().inodes == before
        disk.check_idle()


async def test_a_writer_hears_of_an_upload_that_cannot_begin(autojump_clock: MockClock) -> None:
    """RAM is full and nothing can be sent: it must not wait for room that nobody will make."""
    store = FaultStore(MemoryStore())
    async with mounted(store, part_size=PART, ram_limit=16 * PART) as disk:
        fh = await disk.create("workspace/f")
        store.fail_before("create_upload", count=None)

        async def fill() -> None:
            for at in range(0, 64 * PART, PART):
                await disk.write(fh, at, b"x" * PART)

        with trio.fail_after(60), pytest.raises(StoreUnavailable):
            await fill()
        with pytest.raises(StoreUnavailable):
            await disk.close(fh)
        disk.check_idle()
