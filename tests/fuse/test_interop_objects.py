"""Objects that programs put into the bucket without knowing of agentfs, with keys of any kind."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import subprocess
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.servers.client import Client
from tests.servers.server import Server

SHOWN = (
    "plain",
    "dir/inside",
    "dir/ with blanks ",
    "new\nline",
    "tab\tcr\rctl\x01del\x7f",
    "back\\slash",
    "%2F",
    "a%2Fb",
    "x+y&z=1?#",
    "é/e\u0301",
    "emoji😀",
    "-rf",
    "...",
    "dir/.agentfs/theirs",
    "n" * 255,
)
"""Keys below workspace/ that are paths too."""

HIDDEN = (
    "..",
    ".",
    "../escape",
    "/lead",
    "//",
    "odd//double",
    "odd/../up",
    "odd/./here",
    "odd/..",
    "odd//",
    f"odd/{'n' * 256}",
    f"odd/{'é' * 128}",
    f"odd/{'d' * 256}/inside",
)
"""Keys that no path can name: empty, `.`, `..`, or longer than 255 bytes between two slashes."""


@pytest.fixture
def client(s3: Server) -> Client:
    return s3.client


@pytest.fixture
def mount(mounts: MakeMount, s3: Server) -> Mount:
    return mounts(server=s3)


@pytest.fixture
def work(mount: Mount) -> str:
    """What keys below the workspace start with."""
    return f"{mount.user_prefix}workspace/"


def upload(client: Client, work: str, *keys: str) -> None:
    for key in keys:
        client.put(work + key, f"body of {key}".encode())


def paths(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@semantics("S20.1")
def test_an_upload_without_metadata_is_an_ordinary_file(mount: Mount, client: Client, work: str) -> None:
    client.put(f"{work}made/by/others.html", b"<p>", {"content-type": "text/html"})
    modified = parsedate_to_datetime(client.head(f"{work}made/by/others.html").headers["last-modified"])
    path = mount.workspace / "made" / "by" / "others.html"
    status = path.stat()
    assert path.read_bytes() == b"<p>"
    assert (status.st_mode, status.st_uid, status.st_gid) == (stat.S_IFREG | 0o644, os.getuid(), os.getgid())
    assert int(status.st_mtime) == int(modified.timestamp())
    for directory in (path.parent, path.parent.parent):
        status = directory.stat()
        assert (status.st_mode, status.st_uid, status.st_gid) == (
            stat.S_IFDIR | 0o755,
            os.getuid(),
            os.getgid(),
        )


def test_an_upload_is_edited_in_place(mount: Mount, client: Client, work: str) -> None:
    client.put(f"{work}notes.txt", b"first\nsecond\n")
    with (mount.workspace / "notes.txt").open("r+b") as file:
        file.write(b"FIRST")
        file.seek(0, os.SEEK_END)
        file.write(b"third\n")
    (mount.workspace / "notes.txt").chmod(0o600)
    assert client.get(f"{work}notes.txt").body == b"FIRST\nsecond\nthird\n"
    mount.remount()
    assert stat.S_IMODE((mount.workspace / "notes.txt").stat().st_mode) == 0o600


@semantics("S20.2")
def test_a_directory_of_others_outlives_its_last_file(mount: Mount, client: Client, work: str) -> None:
    upload(client, work, "theirs/deep/file")
    (mount.workspace / "theirs" / "deep" / "file").unlink()
    mount.remount()
    assert list((mount.workspace / "theirs" / "deep").iterdir()) == []
    (mount.workspace / "theirs" / "deep").rmdir()
    mount.remount()
    assert list((mount.workspace / "theirs").iterdir()) == []


def test_a_marker_with_a_body_is_a_directory(mount: Mount, client: Client, work: str) -> None:
    """Some consoles write markers of a few bytes."""
    client.put(f"{work}folder/", b"not empty", {"content-type": "application/x-directory; charset=UTF-8"})
    status = (mount.workspace / "folder").stat()
    assert (status.st_mode, status.st_size) == (stat.S_IFDIR | 0o755, 0)
    assert list((mount.workspace / "folder").iterdir()) == []
    (mount.workspace / "folder").rmdir()
    assert client.keys(f"{work}folder") == []


def test_every_key_that_is_a_path_is_shown(mount: Mount, client: Client, work: str) -> None:
    mount.unmount()
    upload(client, work, *SHOWN, *HIDDEN)
    mount.start()
    assert paths(mount.workspace) == set(SHOWN)
    for key in SHOWN:
        assert (mount.workspace / key).read_bytes() == f"body of {key}".encode()


@semantics("S20.3")
def test_keys_that_are_no_paths_are_neither_shown_nor_touched(
    mount: Mount, client: Client, work: str
) -> None:
    mount.unmount()
    upload(client, work, *HIDDEN, "odd/shown")
    mount.start()
    assert list(mount.workspace.iterdir()) == [mount.workspace / "odd"]
    assert list((mount.workspace / "odd").iterdir()) == [mount.workspace / "odd" / "shown"]
    assert not (mount.workspace / "odd" / "up").exists()
    assert not (mount.root / "escape").exists()
    with pytest.raises(OSError, match="File name too long") as refused:
        (mount.workspace / "odd" / ("n" * 256)).stat()
    assert refused.value.errno == errno.ENAMETOOLONG
    (mount.workspace / "odd" / "shown").unlink()
    with pytest.raises(OSError, match="not empty") as refused:
        (mount.workspace / "odd").rmdir()
    assert refused.value.errno == errno.ENOTEMPTY
    for key in HIDDEN:
        assert client.get(work + key).body == f"body of {key}".encode()


@semantics("S20.3")
def test_keys_that_are_no_paths_move_with_their_directory(mount: Mount, client: Client, work: str) -> None:
    mount.unmount()
    mine = [key.removeprefix("odd") for key in HIDDEN if key.startswith("odd")]
    upload(client, work, *(f"odd{key}" for key in mine))
    mount.start()
    (mount.workspace / "odd").rename(mount.workspace / "new")
    assert client.keys(f"{work}odd") == []
    for key in mine:
        assert client.get(f"{work}new{key}").body == f"body of odd{key}".encode()


@pytest.mark.parametrize("marked", [False, True], ids=["keys-below", "marker"])
@semantics("S20.4")
def test_a_directory_hides_the_file_of_its_name(
    mount: Mount, client: Client, work: str, marked: bool
) -> None:
    mount.unmount()
    upload(client, work, "both", "both/inside", *(["both/"] if marked else []))
    mount.start()
    assert [path.name for path in mount.workspace.iterdir()] == ["both"]
    assert (mount.workspace / "both").is_dir()
    assert paths(mount.workspace) == {"both/inside"}
    (mount.workspace / "both").rename(mount.workspace / "moved")
    assert client.get(f"{work}both").body == b"body of both"
    mount.remount()
    assert (mount.workspace / "both").read_text() == "body of both"
    assert (mount.workspace / "moved" / "inside").read_text() == "body of both/inside"


@semantics("S20.6")
def test_nothing_beside_the_users_prefix_is_touched(mount: Mount, client: Client) -> None:
    """Prefixes are compared with their slash, and no key that lies elsewhere comes into view."""
    users = mount.user_prefix.removesuffix("u1/")
    neighbours = ("u1", "u10/workspace/x", "u1-/workspace/x", "u/x", "u2/workspace/x", "../x", "u1/other/x")
    for key in (*neighbours, "u1//x", "u1/workspaces", "u1/memory-x/y"):
        client.put(users + key, b"theirs")
    upload(client, f"{mount.user_prefix}workspace/", "mine", "dir/mine")
    mount.remount()
    assert sorted(path.name for path in mount.root.iterdir()) == ["memory", "workspace"]
    assert paths(mount.root) == {"workspace/mine", "workspace/dir/mine"}
    subprocess.run(["rm", "-rf", "mine", "dir"], cwd=mount.workspace, check=True, timeout=30)
    assert list(mount.workspace.iterdir()) == []
    for key in (*neighbours, "u1//x", "u1/workspaces", "u1/memory-x/y"):
        assert client.get(users + key).body == b"theirs"


def test_the_longest_keys_there_are(mount: Mount, client: Client, work: str) -> None:
    """Keys of up to 1,024 bytes that others made are read and removed like any other."""
    deep = "/".join(["d" * 250] * 3)
    keys = [f"{deep}/{'f' * (length - len(work) - len(deep) - 1)}" for length in (1022, 1023, 1024)]
    mount.unmount()
    upload(client, work, *keys)
    mount.start()
    assert paths(mount.workspace) == set(keys)
    for key in keys:
        assert (mount.workspace / key).read_text() == f"body of {key}"
        (mount.workspace / key).unlink()
    assert client.keys(f"{work}{deep}/f") == []


@semantics("S20.4")
def test_a_hidden_file_is_not_lost_when_its_name_is_taken(mount: Mount, client: Client, work: str) -> None:
    mount.unmount()
    upload(client, work, "both", "both/inside")
    mount.start()
    mount.expect_log("kept both")
    (mount.workspace / "both" / "inside").unlink()
    (mount.workspace / "both").rmdir()
    (mount.workspace / "both").write_text("ours")
    kept = {client.get(key).body for key in client.keys(f"{work}both")}
    assert kept == {b"ours", b"body of both"}
    assert client.get(f"{work}both").body == b"ours"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@semantics("S20.5")
def test_an_object_that_says_it_is_packed_is_read_as_it_lies(
    mount: Mount, client: Client, work: str, encoding: str
) -> None:
    packed = gzip.compress(os.urandom(300_000), mtime=0)
    client.put(f"{work}packed", packed, {"content-encoding": encoding, "content-type": "text/plain"})
    assert (mount.workspace / "packed").read_bytes() == packed
    with (mount.workspace / "packed").open("ab") as file:
        file.write(b"more")
    changed = client.get(f"{work}packed")
    assert changed.body == packed + b"more"
    assert "content-encoding" not in changed.headers
    assert changed.headers["content-type"] == "application/octet-stream"
