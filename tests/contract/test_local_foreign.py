"""People look into the embedded store's directory, and edit what lies there."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.stores import BARE, LOCAL, META, keys, put, read
from vfs.errors import KeyRefused, ObjectNotFound, PreconditionFailed
from vfs.store.base import ObjectMeta
from vfs.store.local import LocalStore
from vfs.types import Key

KINDS = {"local": {}, "local-plain": {"native": False}, "local-sidecars": {"xattr": False}}
assert set(KINDS) == set(LOCAL)

TIMED = ObjectMeta({"mode": "33261", "uid": "7", "mtime": "1.5", "ctime": "2", "atime": "3"}, "text/plain")
UNTIMED = ObjectMeta({"mode": "33261", "uid": "7"}, "text/plain")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(params=LOCAL)
async def store(request: pytest.FixtureRequest, root: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(root, fsync=False, **KINDS[request.param])
    yield store
    await store.aclose()


async def test_objects_are_plain_files(store: LocalStore, root: Path) -> None:
    await put(store, "users/u1/workspace/a b.txt", b"content", META)
    assert (root / "users/u1/workspace/a b.txt").read_bytes() == b"content"
    assert sorted(os.listdir(root)) == [".agentfs-store", "users"]
    assert root.stat().st_mode & 0o777 == 0o700
    assert (root / "users").stat().st_mode & 0o777 == 0o700


async def test_files_dropped_there_are_objects(store: LocalStore, root: Path) -> None:
    (root / "made/by hand").mkdir(parents=True)
    (root / "made/by hand/file").write_bytes(b"hello")
    os.utime(root / "made/by hand/file", ns=(0, -1_500_000_000))
    info = await store.head(Key("made/by hand/file"))
    assert (info.size, info.modified_ns, info.meta) == (5, -1_500_000_000, BARE)
    assert await keys(store) == ["made/by hand/file"]
    assert await read(store, "made/by hand/file") == b"hello"
    changed = await store.copy(info.key, info.key, META, if_match=info.etag)
    assert (changed.etag, changed.meta) == (info.etag, META)
    await put(store, "made/by hand/file", b"ours", META)
    assert (root / "made/by hand/file").read_bytes() == b"ours"


async def test_directories_made_there_are_prefixes(store: LocalStore, root: Path) -> None:
    (root / "foreign").mkdir()
    assert (await store.list("", delimiter="/")).prefixes == ["foreign/"]
    with pytest.raises(ObjectNotFound):
        await store.head(Key("foreign/"))
    marked = await put(store, "foreign/", b"", META)
    assert await store.head(Key("foreign/")) == marked
    (root / "file-to-be/empty").mkdir(parents=True)
    await put(store, "file-to-be/empty", b"an empty foreign directory is in nobody's way")
    await store.delete(Key("foreign/"))
    assert not (root / "foreign").exists()


async def test_edited_in_place_a_file_keeps_all_but_its_times(store: LocalStore, root: Path) -> None:
    stored = await put(store, "dir/x", b"one", TIMED)
    assert stored.meta == TIMED
    (root / "dir/x").write_bytes(b"one and two")
    edited = await store.head(Key("dir/x"))
    assert edited.etag != stored.etag
    assert (edited.size, edited.meta) == (11, UNTIMED)
    assert edited.modified_ns == (root / "dir/x").stat().st_mtime_ns
    with pytest.raises(PreconditionFailed):
        await store.get(Key("dir/x"), if_match=stored.etag)
    if store.capabilities.list_metadata:
        assert (await store.list("dir/")).objects[0].meta == UNTIMED
    copied = await store.copy(Key("dir/x"), Key("dir/y"))
    assert copied.meta == UNTIMED
    again = await store.copy(Key("dir/x"), Key("dir/x"), TIMED, if_match=edited.etag)
    assert (again.meta, (await store.head(Key("dir/x"))).meta) == (TIMED, TIMED)


async def test_deleted_and_renamed_by_others(store: LocalStore, root: Path) -> None:
    await put(store, "dir/x", b"x", META)
    await put(store, "dir/y", b"y", META)
    (root / "dir/x").unlink()
    (root / "dir/y").rename(root / "dir/z")
    assert await keys(store) == ["dir/z"]
    with pytest.raises(ObjectNotFound):
        await store.head(Key("dir/x"))
    with pytest.raises(PreconditionFailed):
        await store.put(Key("dir/y"), [b"z"], META, if_match=(await store.head(Key("dir/z"))).etag)


async def test_symlinks_lead_nowhere(store: LocalStore, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "dir").mkdir()
    (root / "dir/file-link").symlink_to(outside / "secret")
    (root / "dir/dir-link").symlink_to(outside)
    (root / "dir/up").symlink_to("..")
    (root / "dir/dangling").symlink_to("nowhere")
    await put(store, "dir/real", b"real")
    assert await keys(store) == ["dir/real"]
    assert (await store.list("dir/", delimiter="/")).prefixes == []
    for key in ("dir/file-link", "dir/dir-link/secret", "dir/dir-link/", "dir/up/dir/real", "dir/dangling"):
        with pytest.raises(ObjectNotFound):
            await store.head(Key(key))
        with pytest.raises(ObjectNotFound):
            await store.get(Key(key))
        with pytest.raises(KeyRefused):
            await put(store, key, b"")
        assert (await store.list(key, delimiter="/")).objects == []
        await store.delete(Key(key))
        with pytest.raises(KeyRefused):
            await store.copy(Key("dir/real"), Key(key.rstrip("/")))
    assert [entry.name for entry in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(root / "dir")) == ["dangling", "dir-link", "file-link", "real", "up"]


async def test_a_symlink_in_place_of_the_store_s_own_directory(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/.agentfs-store").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="cannot be used as a store"):
        LocalStore(tmp_path / "store")
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_fifos_and_sockets_are_left_alone(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "fifo")
    monkeypatch.chdir(root)  # a socket's address has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert await keys(store) == []
        for key in ("fifo", "socket"):
            with pytest.raises(ObjectNotFound):
                await store.get(Key(key))
            with pytest.raises(KeyRefused):
                await put(store, key, b"x")
            await store.delete(Key(key))
    assert sorted(os.listdir(root)) == [".agentfs-store", "fifo", "socket"]


async def test_names_that_are_no_keys_are_not_listed(store: LocalStore, root: Path) -> None:
    (root / "dir").mkdir()
    with open(os.fsencode(root / "dir") + b"/latin-\xe9", "wb"):
        pass
    await put(store, "dir/é", b"x")
    assert await keys(store) == ["dir/é"]
    (root / "/".join(["d" * 250] * 5)).mkdir(parents=True)
    (root / "/".join(["d" * 250] * 5) / "beyond a key's length").write_bytes(b"")
    assert await keys(store, "dddd") == []


async def test_what_others_put_into_our_xattr(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = LocalStore(root, fsync=False)
    for number, garbage in enumerate((b"", b"not json", b"[]", b'{"etag": 1}', b"\xff\xfe", b"null")):
        (root / f"f{number}").write_bytes(b"x")
        os.setxattr(root / f"f{number}", "user.agentfs", garbage)
        assert (await store.head(Key(f"f{number}"))).meta == BARE
    (root / "d").mkdir()
    os.setxattr(root / "d", "user.agentfs", b"garbage")
    with pytest.raises(ObjectNotFound):
        await store.head(Key("d/"))
    assert len(await keys(store)) == 6
    os.setxattr(root / "d", "user.agentfs", b'{"etag":"made up","type":"t","metadata":{}}')
    assert (await store.head(Key("d/"))).modified_ns == 0
    os.setxattr(root / "f0", "user.agentfs", b"[" * 3000)
    assert (await store.head(Key("f0"))).meta == BARE
    await store.aclose()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "a//b",
        "a//",
        ".",
        "..",
        "./a",
        "a/../b",
        "a/..",
        "../a",
        "a/./b",
        "nul\0",
        "n" * 256,
        "d/" + "é" * 128,
        "lone\ud800surrogate",
        ".agentfs-store",
        ".agentfs-store/",
        ".agentfs-store/tmp/x",
        "/".join(["k" * 200] * 6),
    ],
)
async def test_keys_that_no_file_can_have(store: LocalStore, root: Path, key: str) -> None:
    await put(store, "good", b"x")
    bad = Key(key)
    for call in (
        lambda: store.head(bad),
        lambda: store.get(bad),
        lambda: put(store, key),
        lambda: store.delete(bad),
        lambda: store.copy(Key("good"), bad),
        lambda: store.copy(bad, Key("good")),
        lambda: store.create_upload(bad, BARE),
    ):
        with pytest.raises(KeyRefused):
            await call()
    assert list(await store.delete_many([bad])) == [bad]
    assert (await store.list(key, delimiter="/")).objects == [] or not key
    assert await keys(store) == ["good"]
    assert sorted(os.listdir(root)) == [".agentfs-store", "good"]


async def test_a_file_where_a_directory_is_needed(store: LocalStore) -> None:
    await put(store, "file", b"x")
    await put(store, "dir/x", b"x")
    for key in ("file/x", "file/x/y", "file/", "dir"):
        with pytest.raises(KeyRefused):
            await put(store, key)
    with pytest.raises(KeyRefused):
        await put(store, "marker/", b"content")
    with pytest.raises(KeyRefused):
        await store.create_upload(Key("marker/"), BARE)
    assert await keys(store) == ["dir/x", "file"]
