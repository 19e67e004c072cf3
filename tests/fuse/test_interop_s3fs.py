"""s3fs and agentfs on the same objects: what one writes is right in the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.fuse.s3fs import S3fs
from tests.fuse.tree import make_tree, picture
from tests.mounting import Mount
from tests.servers.server import Server

MIB = 1 << 20
LARGE = 21 * MIB
"""Several parts for either program."""

TIME_NS = 1_500_000_000_123_456_789

OpenS3fs = Callable[[], S3fs]


@pytest.fixture
def mount(mounts: MakeMount, s3: Server) -> Mount:
    return mounts(server=s3)


@pytest.fixture
def s3fs(mount: Mount, s3: Server, scratch: Path) -> S3fs:
    """s3fs on this mount's workspace: `with s3fs as root`."""
    return S3fs(scratch, s3, f"{mount.user_prefix}workspace")


def owners(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_uid, path.lstat().st_gid) for path in root.rglob("*")
    }


def give_away(root: Path) -> None:
    """Everything gets an owner of its own."""
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.chown(path, 1000 + number, 2000 + number, follow_symlinks=False)


def make_owned_tree(root: Path) -> Path:
    """chown takes setuid bits away and moves no mtime, so the tree's modes come last."""
    make_tree(root, seed=7, files=16)
    modes = {path: path.lstat().st_mode for path in root.rglob("*") if not path.is_symlink()}
    give_away(root)
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode))
    return root


def test_a_tree_written_here_is_the_same_in_s3fs(mount: Mount, s3fs: S3fs) -> None:
    tree = make_owned_tree(mount.workspace / "tree")
    seen, owned = picture(tree), owners(tree)
    mount.unmount()
    with s3fs as root:
        assert picture(root / "tree") == seen
        assert owners(root / "tree") == owned


def test_a_tree_written_by_s3fs_is_the_same_here(mount: Mount, s3fs: S3fs) -> None:
    mount.unmount()
    with s3fs as root:
        tree = make_owned_tree(root / "tree")
        seen, owned = picture(tree), owners(tree)
    mount.start()
    assert picture(mount.workspace / "tree") == seen
    assert owners(mount.workspace / "tree") == owned


def write_specials(root: Path) -> None:
    os.mkfifo(root / "fifo", 0o640)
    (root / "private").mkdir(0o700)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "link").symlink_to("où est-il?/../nowhere")
    os.chown(root / "link", 7, 8, follow_symlinks=False)
    os.utime(root / "link", ns=(TIME_NS, TIME_NS), follow_symlinks=False)
    (root / "tagged").write_text("tagged")
    os.setxattr(root / "tagged", "user.bytes", bytes(range(256)))
    os.utime(root / "tagged", ns=(TIME_NS + 1, TIME_NS))


def check_specials(root: Path) -> None:
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("fifo", "private", "sticky")}
    assert modes == {"fifo": 0o640, "private": 0o700, "sticky": 0o1777}
    link = (root / "link").lstat()
    assert os.readlink(root / "link") == "où est-il?/../nowhere"
    assert (link.st_uid, link.st_gid, link.st_mtime_ns) == (7, 8, TIME_NS)
    assert os.getxattr(root / "tagged", "user.bytes") == bytes(range(256))
    tagged = (root / "tagged").stat()
    assert (tagged.st_atime_ns, tagged.st_mtime_ns) == (TIME_NS + 1, TIME_NS)


def test_links_fifos_and_attributes_written_here_are_right_in_s3fs(mount: Mount, s3fs: S3fs) -> None:
    write_specials(mount.workspace)
    mount.unmount()
    with s3fs as root:
        check_specials(root)


def test_links_fifos_and_attributes_written_by_s3fs_are_right_here(mount: Mount, s3fs: S3fs) -> None:
    mount.unmount()
    with s3fs as root:
        write_specials(root)
    mount.start()
    check_specials(mount.workspace)


def test_a_large_file_is_edited_by_one_after_the_other(mount: Mount, s3fs: S3fs) -> None:
    content = bytearray(os.urandom(LARGE))

    def edit(path: Path, offset: int, data: bytes) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        content[offset : offset + len(data)] = data

    (mount.workspace / "large").write_bytes(content)
    mount.unmount()
    with s3fs as root:
        assert (root / "large").read_bytes() == content
        edit(root / "large", 9 * MIB, b"by s3fs")
        edit(root / "large", LARGE, b"appended by s3fs")
    mount.start()
    assert (mount.workspace / "large").read_bytes() == content
    edit(mount.workspace / "large", 17 * MIB, b"by agentfs")
    edit(mount.workspace / "large", len(content), b"appended by agentfs")
    mount.unmount()
    with s3fs as root:
        assert (root / "large").read_bytes() == content


def test_what_s3fs_made_is_renamed_changed_and_removed_here(mount: Mount, s3fs: S3fs) -> None:
    mount.unmount()
    with s3fs as root:
        (root / "old" / "deep").mkdir(parents=True)
        (root / "old" / "deep" / "file").write_text("from s3fs")
        (root / "old" / "gone").write_text("soon gone")
        (root / "old" / "deep" / "file").chmod(0o640)
    mount.start()
    (mount.workspace / "old").rename(mount.workspace / "new")
    (mount.workspace / "new" / "gone").unlink()
    os.chown(mount.workspace / "new" / "deep" / "file", 5, 6)
    mount.unmount()
    with s3fs as root:
        assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == [
            "new",
            "new/deep",
            "new/deep/file",
        ]
        status = (root / "new" / "deep" / "file").stat()
        assert (root / "new" / "deep" / "file").read_text() == "from s3fs"
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 5, 6)


def test_what_was_made_here_is_renamed_and_removed_by_s3fs(mount: Mount, s3fs: S3fs) -> None:
    (mount.workspace / "old" / "deep").mkdir(parents=True)
    (mount.workspace / "old" / "deep" / "file").write_text("from agentfs")
    (mount.workspace / "old" / "gone").write_text("soon gone")
    mount.unmount()
    with s3fs as root:
        (root / "old" / "gone").unlink()
        (root / "old").rename(root / "new")
    mount.start()
    assert sorted(picture(mount.workspace)) == ["new", "new/deep", "new/deep/file"]
    assert (mount.workspace / "new" / "deep" / "file").read_text() == "from agentfs"


def test_both_are_mounted_and_see_what_the_other_stored(mounts: MakeMount, s3: Server, scratch: Path) -> None:
    """A name that neither has asked for before is seen at once."""
    mount = mounts(server=s3)
    with S3fs(scratch, s3, f"{mount.user_prefix}workspace") as root:
        for number in range(5):
            (mount.workspace / f"ours{number}").write_text(f"ours {number}")
            assert (root / f"ours{number}").read_text() == f"ours {number}"
            (root / f"theirs{number}").write_text(f"theirs {number}")
            assert (mount.workspace / f"theirs{number}").read_text() == f"theirs {number}"


def test_appends_of_both_to_one_file_all_arrive(mounts: MakeMount, s3: Server, scratch: Path) -> None:
    mount = mounts(server=s3)
    mount.expect_log("changed elsewhere")
    with S3fs(scratch, s3, f"{mount.user_prefix}workspace") as root:
        log = mount.workspace / "log"
        log.write_text("ours 0\n")
        with (root / "log").open("a") as file:
            file.write("theirs 1\n")
        with log.open("a") as file:
            file.write("ours 2\n")
    stored = s3.client.get(f"{mount.user_prefix}workspace/log").body
    assert stored == b"ours 0\ntheirs 1\nours 2\n"
