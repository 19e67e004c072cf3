"""The embedded store on a disk that is full, read-only, coarse or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.contract.stores import BARE, META, put
from vfs.errors import ConfigError, StoreUnavailable
from vfs.store.local import LocalStore
from vfs.store.local.conditions import ANY
from vfs.store.local.disk import Disk
from vfs.types import Key

FULL = """
import subprocess, sys, trio
from pathlib import Path
from vfs.errors import ConfigError, StoreDenied, StoreFull
from vfs.store.base import ObjectMeta
from vfs.store.local import LocalStore

META = ObjectMeta({"n": "1"})
BIG = [b"x" * 65536] * 64

async def main(root):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", root], check=True)
    store = LocalStore(Path(root))
    usage = await store.usage()
    assert usage.total == 2 << 20, usage
    old = await store.put("dir/old", [b"old"], META)
    upload = await store.create_upload("dir/parts", META)
    parts = [await store.upload_part(upload, 1, [b"x"]), await store.upload_part(upload, 2, [b"x" * 65536] * 12)]
    async def refused(call, *arguments):
        free = (await store.usage()).free
        try:
            await call(*arguments)
        except StoreFull:
            assert (await store.usage()).free >= free - 65536, "what was written is given back"
        else:
            raise AssertionError(f"{call} was not refused")
    await refused(store.put, "dir/old", BIG, META)
    await refused(store.put, "new/dir/file", BIG, META)
    await refused(store.upload_part, upload, 3, BIG)
    big = await store.put("dir/big", [b"y" * 65536] * 13, META)
    await refused(store.complete_upload, upload, parts)
    await refused(store.copy, "dir/big", "dir/copy")
    assert await store.head("dir/old") == old
    assert (await store.list("", delimiter="/")).prefixes == ["dir/"]
    await store.delete("dir/big")
    assert (await store.complete_upload(upload, parts)).size == 786433
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    assert await store.head("dir/old") == old
    for call in (store.put("dir/old", [b"x"], META), store.delete("dir/old"), store.rename("dir/old", "x"),
                 store.put("m/", [], META), store.copy("dir/old", "dir/old", META)):
        try:
            await call
        except StoreDenied:
            continue
        raise AssertionError("a read-only disk was written")
    assert await store.head("dir/old") == old
    await store.aclose()
    try:
        LocalStore(Path(root))
    except ConfigError as error:
        assert "cannot be used as a store" in str(error), error
    else:
        raise AssertionError("a read-only directory was accepted")

trio.run(main, sys.argv[1])
"""


@pytest.mark.root
def test_full_and_read_only_disks(tmp_path: Path) -> None:
    """On a small tmpfs in a mount namespace of its own: nothing is left mounted, whatever happens."""
    unshare = ["unshare", "--mount", sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(unshare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("xattr", [pytest.param(True, marks=pytest.mark.slow), False])
def test_quick_puts_have_different_etags(tmp_path: Path, xattr: bool) -> None:
    """Inode numbers are reused, and the kernel's clock ticks every 4 ms: 10,000 puts take far less each.

    Where a file system never reuses them (tmpfs, which /tmp may be) the etags differ the more easily.
    All of one size, none: to replace content makes ext4 write it out at once, which takes longer than the rest.
    """
    disk = Disk(tmp_path, fsync=False, native=True, xattr=xattr)
    puts = 10_000 if xattr else 300
    etags = {disk.objects.put(Key("k"), [], BARE, ANY).etag for _ in range(puts)}
    assert len(etags) == puts
    disk.close()


async def test_equal_contents_are_versions_too(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, fsync=False)
    etags = {(await put(store, key, data)).etag for key, data in (("a", b"s"), ("b", b"s"), ("a", b"s"))}
    etags |= {(await put(store, "d/")).etag for _ in range(2)}
    assert len(etags) == 5
    await store.aclose()


@pytest.mark.parametrize("root", ["file", "file/below", "/proc/agentfs-store"])
def test_directories_that_cannot_be(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ConfigError) as refused:
        LocalStore(tmp_path / root)
    assert str(tmp_path / root) in str(refused.value)
    assert "choose" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_missing_directories_are_made_private(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "a/b/c", fsync=False)
    for directory in ("a", "a/b", "a/b/c", "a/b/c/.agentfs-store"):
        assert (tmp_path / directory).stat().st_mode & 0o777 == 0o700
    assert store.root == tmp_path / "a/b/c"
    await store.aclose()


async def test_the_root_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = LocalStore(tmp_path / "link", fsync=False)
    await put(store, "a b", b"x")
    assert await store.presign(Key("a b"), 60) == f"file://{tmp_path}/real/a%20b"
    await store.aclose()


def test_metadata_stay_where_they_began(tmp_path: Path) -> None:
    """Half in xattrs and half in sidecars, each half would be invisible to a store that looks for the other."""
    Disk(tmp_path / "x", fsync=False, native=True, xattr=True).close()
    with pytest.raises(ConfigError, match="xattr=no"):
        LocalStore(tmp_path / "x", xattr=False)
    disk = Disk(tmp_path / "s", fsync=False, native=True, xattr=False)
    disk.objects.put(Key("k"), [b"x"], META, ANY)
    disk.close()
    disk = Disk(tmp_path / "s", fsync=False, native=True, xattr=True)
    assert disk.objects.head(Key("k")).meta == META
    disk.close()


def test_newer_formats_are_refused(tmp_path: Path) -> None:
    Disk(tmp_path, fsync=False, native=True, xattr=True).close()
    (tmp_path / ".agentfs-store/format.json").write_text(json.dumps({"format": 2, "metadata": "xattr"}))
    with pytest.raises(ConfigError, match="newer agentfs"):
        LocalStore(tmp_path)


async def test_sweep_takes_only_what_is_old(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, fsync=False)
    upload = await store.create_upload(Key("k"), META)
    (tmp_path / ".agentfs-store/tmp/debris").write_bytes(b"x")
    (tmp_path / ".agentfs-store/tmp/tree").mkdir()
    (tmp_path / ".agentfs-store/tmp/tree/part").write_bytes(b"x")
    assert await store.sweep() == 0
    assert await store.sweep(-1.0) == 2
    assert os.listdir(tmp_path / ".agentfs-store/tmp") == []
    assert [found.id for found in await store.list_uploads("")] == [upload.id]
    await store.aclose()


async def test_a_change_that_was_given_up_is_over(tmp_path: Path) -> None:
    """It happened or it did not, but it does not go on: it could overtake the next change of the key."""
    store = LocalStore(tmp_path, fsync=False)
    await put(store, "k", b"old")
    for delay in range(20):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(put, store, "k", bytes(1 << 20))
                for _ in range(delay):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert os.listdir(tmp_path / ".agentfs-store/tmp") == []
        assert (await store.head(Key("k"))).size in (3, 1 << 20)
    await store.aclose()


async def test_after_the_end(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, fsync=False)
    await put(store, "k", b"x")
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.head(Key("k"))
    with pytest.raises(StoreUnavailable):
        await put(store, "k", b"y")


async def test_a_backup_keeps_its_metadata(tmp_path: Path) -> None:
    """Copied with `cp -a`, every inode number is another one, and all else as it was."""
    for kind in (True, False):
        store = LocalStore(tmp_path / f"{kind}", fsync=False, xattr=kind)
        await put(store, "dir/x", b"x", META)
        await put(store, "dir/", b"", META)
        await store.aclose()
        subprocess.run(["cp", "-a", tmp_path / f"{kind}", tmp_path / f"{kind}-copy"], check=True)
        copy = LocalStore(tmp_path / f"{kind}-copy", fsync=False, xattr=kind)
        assert (await copy.head(Key("dir/x"))).meta == META
        assert (await copy.head(Key("dir/"))).meta == META
        await copy.aclose()
