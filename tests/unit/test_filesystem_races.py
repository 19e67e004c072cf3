"""What one program does while another's request, or another writer's, is halfway through."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.unit.disk import key, mounted, stored
from vfs.errors import NotEmpty, StoreUnavailable
from vfs.store.base import Capabilities, ObjectInfo, ObjectMeta, Part, Upload
from vfs.types import ETag

PART = 32


async def test_chmod_of_a_file_that_was_replaced_elsewhere_changes_the_new_version() -> None:
    store = MemoryStore()
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"ours")
        await store.put(key("workspace/f"), [b"theirs, longer"], ObjectMeta({"mtime": "7"}))
        await disk.change("workspace/f", mode=0o600)
        seen = await disk.stat("workspace/f")
        assert (seen.attr.mode & 0o777, seen.attr.size, seen.attr.mtime_ns) == (0o600, 14, 7_000_000_000)
        assert await disk.load("workspace/f") == b"theirs, longer"
    assert await stored(store, "workspace/f") == b"theirs, longer"


async def test_a_reader_beside_a_truncate_sees_all_or_nothing(autojump_clock: MockClock) -> None:
    """Parts that were sent are in no place where a reader could find them while the upload is given up."""
    store = FaultStore(MemoryStore())
    async with mounted(store, part_size=PART) as disk:
        fh = await disk.create("workspace/f")
        for at in range(0, 6 * PART, PART):
            await disk.write(fh, at, b"x" * PART)
            await trio.testing.wait_all_tasks_blocked()
        store.slow("abort_upload", seconds=10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: disk.change("workspace/f", fh, size=0))
            await trio.sleep(1)
            assert await disk.read(fh) in (b"", b"x" * 6 * PART)
        await disk.close(fh)
    assert await stored(store, "workspace/f") == b""


async def test_a_commit_that_was_interrupted_between_two_names_is_not_done(autojump_clock: MockClock) -> None:
    store = FaultStore(MemoryStore())
    async with mounted(store) as disk:
        await disk.save("workspace/one", b"old")
        await disk.link("workspace/one", "workspace/two")
        fh = await disk.open("workspace/one")
        await disk.write(fh, 0, b"new")
        store.slow("copy", seconds=10)
        with trio.move_on_after(1):
            await disk.fs.fsync(fh)
        store.clear()
        await disk.close(fh)
        assert await stored(store, "workspace/one") == await stored(store, "workspace/two") == b"new"


async def test_a_version_that_replaced_a_streamed_file_at_once_stays() -> None:
    """Its attributes are not put on the other's bytes, and the upload is not completed twice."""

    class Overtaken(MemoryStore):
        async def complete_upload(
            self,
            upload: Upload,
            parts: Sequence[Part],
            meta: ObjectMeta | None = None,
            *,
            if_match: ETag | None = None,
            if_absent: bool = False,
        ) -> ObjectInfo:
            info = await super().complete_upload(upload, parts, meta, if_match=if_match, if_absent=if_absent)
            await self.put(upload.key, [b"theirs"], ObjectMeta({"mtime": "7"}))
            return info

    store = Overtaken(S3_LIKE)
    async with mounted(store, part_size=PART) as disk:
        fh = await disk.create("workspace/f")
        for at in range(0, 6 * PART, PART):
            await disk.write(fh, at, b"x" * PART)
            await trio.testing.wait_all_tasks_blocked()
        await disk.change("workspace/f", fh, mtime_ns=1)
        await disk.close(fh)
    found = await store.get(key("workspace/f"))
    assert bytes(found.data) == b"theirs"
    assert found.info.meta is not None
    assert found.info.meta.metadata["mtime"] == "7"


@pytest.mark.parametrize("lasting", [True, False])
async def test_a_rename_over_an_open_file_that_fails_leaves_it_readable(lasting: bool) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store) as disk:
        await disk.save("workspace/old", b"old" * 100)
        await disk.save("workspace/new", b"new")
        disk.fs.budget._shed(0)
        fh = await disk.open("workspace/old", os.O_RDONLY)
        store.fail_before("copy", keys="workspace/old$", count=None if lasting else 1)
        with pytest.raises(StoreUnavailable):
            await disk.rename("workspace/new", "workspace/old")
        assert await disk.read(fh) == b"old" * 100
        store.clear()
        await disk.rename("workspace/new", "workspace/old")
        assert await disk.read(fh) == b"old" * 100
        assert await disk.load("workspace/old") == b"new"
        await disk.close(fh)
        disk.check_idle()
    assert sorted(info.key for info in (await store.list("")).objects) == [
        key("memory/"),
        key("workspace/"),
        key("workspace/old"),
    ]


async def test_a_read_that_has_to_begin_again_finds_what_was_sent_meanwhile(
    autojump_clock: MockClock,
) -> None:
    """The base is replaced under it, and a part that was in RAM at first leaves for an upload."""
    store = FaultStore(MemoryStore())
    async with mounted(store, part_size=PART) as disk:
        await disk.save("workspace/f", b"a" * 2 * PART)
        fh = await disk.open("workspace/f")
        await disk.write(fh, 0, b"b")
        store.slow("get", seconds=2)
        seen = []

        async def read() -> None:
            seen.append(await disk.read(fh))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(1)
            await disk.fs.fsync(fh)
            for at in range(2 * PART, 6 * PART, PART):
                await disk.write(fh, at, b"c" * PART)
        whole = b"b" + b"a" * (2 * PART - 1)
        assert seen[0].startswith(whole)
        assert set(seen[0][len(whole) :]) <= {ord("c")}
        await disk.close(fh)


@pytest.mark.parametrize("directory", [False, True])
async def test_a_chmod_beside_a_question_that_began_before_it_stays(
    autojump_clock: MockClock, directory: bool
) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store, workspace_ttl=5.0) as disk:
        if directory:
            await disk.mkdir("workspace/x")
            await disk.fs.late.store_all()
        else:
            await disk.save("workspace/x", b"content")
        inode = await disk.walk("workspace/x")
        await trio.sleep(10)
        for slow, pause in (("head|list", 1.0), ("put|copy", 0.5)):
            store.clear()
            store.slow(slow, seconds=3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disk.find, "workspace/x")
                await trio.sleep(pause)
                nursery.start_soon(lambda: disk.change("workspace/x", mode=0o700))
                await trio.sleep(pause)
                nursery.start_soon(disk.find, "workspace/x")
            assert inode.attr.mode & 0o777 == 0o700
            assert (await disk.stat("workspace/x")).attr.mode & 0o777 == 0o700
            await disk.change("workspace/x", mode=0o755)
            await trio.sleep(10)


@pytest.mark.parametrize("remove", [True, False], ids=["unlink", "rename-over"])
async def test_a_reader_that_closes_while_its_file_goes(autojump_clock: MockClock, remove: bool) -> None:
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store, part_size=PART) as disk:
        await disk.save("workspace/f", b"x" * 10 * PART)
        await disk.save("workspace/new", b"new")
        fh = await disk.open("workspace/f", os.O_RDONLY)
        store.slow("copy", seconds=5)
        async with trio.open_nursery() as nursery:
            if remove:
                nursery.start_soon(disk.unlink, "workspace/f")
            else:
                nursery.start_soon(disk.rename, "workspace/new", "workspace/f")
            await trio.sleep(1)
            await disk.close(fh)
        store.clear()
        assert await disk.listdir("workspace") == (["new"] if remove else ["f"])
        await disk.fs.background.finished(10)
        disk.check_idle()
        assert not (await store.list("users/u1/.agentfs/orphans/")).objects


@pytest.mark.parametrize("capabilities", [S3_LIKE, replace(S3_LIKE, conditional_put=False)])
async def test_the_first_of_two_names_goes_while_the_file_is_streamed(capabilities: Capabilities) -> None:
    store = MemoryStore(capabilities)
    async with mounted(store, part_size=PART) as disk:
        await disk.save("workspace/a", b"old")
        await disk.link("workspace/a", "workspace/b")
        fh = await disk.open("workspace/a", os.O_RDWR | os.O_TRUNC)
        for at in range(0, 6 * PART, PART):
            await disk.write(fh, at, b"x" * PART)
            await trio.testing.wait_all_tasks_blocked()
        await disk.unlink("workspace/a")
        await disk.write(fh, 6 * PART, b"end")
        await disk.close(fh)
        assert await disk.listdir("workspace") == ["b"]
    assert await stored(store, "workspace/b") == b"x" * 6 * PART + b"end"
    assert key("workspace/a") not in store.stored()


async def test_a_file_that_another_writer_replaced_can_be_removed_and_renamed_while_it_is_open() -> None:
    store = MemoryStore(S3_LIKE)
    async with mounted(store, part_size=PART) as disk:
        await disk.save("workspace/f", b"x" * 10 * PART)
        await disk.save("workspace/new", b"new")
        fh = await disk.open("workspace/f", os.O_RDONLY)
        await store.put(key("workspace/f"), [b"theirs"], ObjectMeta())
        await disk.rename("workspace/new", "workspace/f")
        assert await disk.load("workspace/f") == b"new"
        await disk.close(fh)


async def test_what_another_writer_stored_is_what_is_renamed() -> None:
    store = MemoryStore(S3_LIKE)
    async with mounted(store, revalidate=float("inf")) as disk:
        await disk.save("workspace/f", b"ours")
        await store.put(key("workspace/f"), [b"theirs"], ObjectMeta())
        await disk.rename("workspace/f", "workspace/g")
        assert await disk.load("workspace/g") == b"theirs"
    assert await stored(store, "workspace/g") == b"theirs"


async def test_a_page_written_in_place_through_an_appending_handle_is_no_append() -> None:
    """As the kernel writes back a shared mapping, by whichever handle there is."""
    store = MemoryStore(S3_LIKE)
    async with mounted(store) as disk:
        await disk.save("workspace/f", b"0123456789abcdef")
        fh = await disk.open("workspace/f", os.O_RDWR | os.O_APPEND)
        await disk.read(fh)
        await store.put(key("workspace/f"), [b"t" * 40], ObjectMeta())
        await disk.write(fh, 4, b"EDIT")
        await disk.close(fh)
        names = await disk.listdir("workspace")
        assert len(names) == 2, "both versions are kept"
    assert await stored(store, "workspace/f") == b"0123EDIT89abcdef"


@pytest.mark.parametrize("again_on", ["this mount", "the next"])
@pytest.mark.parametrize("gone", [0, 3], ids=["nothing-deleted", "some-deleted"])
async def test_a_rename_of_a_directory_that_was_cut_short_is_finished_later(again_on: str, gone: int) -> None:
    memory = MemoryStore(S3_LIKE)
    store = FaultStore(memory)
    contents = {f"workspace/new/{number}": b"%d" % number for number in range(6)}
    async with mounted(store) as disk:
        await disk.mkdir("workspace/old")
        await disk.change("workspace/old", mode=0o700)
        for number in range(6):
            await disk.save(f"workspace/old/{number}", b"%d" % number)
        store.fail_before("delete_many", count=1)
        with pytest.raises(StoreUnavailable):
            await disk.rename("workspace/old", "workspace/new")
        for name in ("", "1", "2")[:gone]:
            await memory.delete(key(f"workspace/old/{name}"))
        if again_on == "this mount":
            await disk.fs.ask_again("")
            await disk.rename("workspace/old", "workspace/new")
    if again_on == "the next":
        async with mounted(store) as disk:
            await disk.rename("workspace/old", "workspace/new")
    async with mounted(store) as disk:
        assert await disk.tree() == ["workspace/new", *contents]
        assert {path: await disk.load(path) for path in contents} == contents
        assert (await disk.stat("workspace/new")).attr.mode & 0o777 == 0o700


@pytest.mark.parametrize("copied", range(4))
async def test_a_rename_of_a_directory_that_failed_while_it_copied_is_finished_later(copied: int) -> None:
    memory = MemoryStore(S3_LIKE)
    store = FaultStore(memory)
    async with mounted(store) as disk:
        await disk.mkdir("workspace/old")
        for number in range(6):
            await disk.save(f"workspace/old/{number}", b"%d" % number)
        store.fail_before("copy", keys=f"new/({'|'.join(map(str, range(copied, 6)))})$", count=None)
        with pytest.raises(StoreUnavailable):
            await disk.rename("workspace/old", "workspace/new")
        store.clear()
        await disk.fs.ask_again("")
        await disk.rename("workspace/old", "workspace/new")
        assert await disk.tree() == ["workspace/new", *(f"workspace/new/{number}" for number in range(6))]
    left = [info.key for info in (await memory.list(key(".agentfs/"))).objects]
    assert left == [], "the note that it was begun"


@pytest.mark.parametrize("there", [(), ("f",), ("f", "g")])
async def test_a_directory_that_has_all_that_another_has_is_not_replaced(there: tuple[str, ...]) -> None:
    """An empty one, a copy by `cp -a`, or one with more in it: nothing but a note tells of a rename begun before."""
    async with mounted(MemoryStore(S3_LIKE)) as disk:
        for name in ("one", "two"):
            await disk.mkdir(f"workspace/{name}")
        for name in ("one/", "two/") if there else ("two/",):
            for file in there or ("f",):
                await disk.save(f"workspace/{name}{file}", b"same")
                await disk.change(f"workspace/{name}{file}", mtime_ns=1, atime_ns=1)
        await disk.save("workspace/two/more", b"more")
        before = await disk.tree()
        with pytest.raises(NotEmpty):
            await disk.rename("workspace/one", "workspace/two")
        assert await disk.tree() == before


async def test_a_directory_with_something_else_in_it_is_not_replaced() -> None:
    async with mounted(MemoryStore(S3_LIKE)) as disk:
        for name in ("one", "two"):
            await disk.mkdir(f"workspace/{name}")
            await disk.save(f"workspace/{name}/f", name.encode())
        with pytest.raises(NotEmpty):
            await disk.rename("workspace/one", "workspace/two")
        assert await disk.load("workspace/two/f") == b"two"


async def test_a_file_that_is_written_while_a_long_rename_holds_its_path_is_stored_after_it(
    autojump_clock: MockClock,
) -> None:
    """What is sent ahead of the close waits in vain, and stays in RAM."""
    store = FaultStore(MemoryStore(S3_LIKE))
    async with mounted(store, part_size=PART, path_timeout=60) as disk:
        await disk.mkdir("workspace/d")
        fh = await disk.create("workspace/d/f")
        store.slow("copy", seconds=100, count=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.rename, "workspace/d", "workspace/e")
            await trio.sleep(1)
            for at in range(0, 4 * PART, PART):
                await disk.write(fh, at, b"x" * PART)
            await trio.sleep(70)
            assert "held this path" in disk.fs.background.last_error
        await disk.close(fh)
        assert await disk.load("workspace/e/f") == b"x" * 4 * PART
