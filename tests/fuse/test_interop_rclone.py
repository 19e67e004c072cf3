"""rclone and agentfs on the same objects, both ways, with metadata (`-M`).

rclone knows no directories and no links on S3: it stores `NAME.rclonelink`, and directories only where it is told
`--s3-directory-markers`.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.fuse.tree import make_tree
from tests.mounting import Mount
from tests.servers.server import Server

RCLONE = Path(sys.executable).with_name("rclone")
LARGE = 21 << 20
SECONDS = 60


@pytest.fixture
def mount(mounts: MakeMount, s3: Server) -> Mount:
    return mounts(server=s3)


class Rclone:
    """rclone with one remote: the workspace of a mount, as it lies in the bucket."""

    def __init__(self, server: Server, mount: Mount) -> None:
        assert RCLONE.exists(), f"no {RCLONE}: run make check, which installs what the tests need"
        self.remote = f"store:{server.bucket}/{mount.user_prefix}workspace"
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENDPOINT": server.endpoint,
            "REGION": server.region,
            "ACCESS_KEY_ID": server.access_key,
            "SECRET_ACCESS_KEY": server.secret_key,
        }
        self._env = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": os.devnull}
        self._env |= {f"RCLONE_CONFIG_STORE_{name}": value for name, value in settings.items()}

    def __call__(self, *argv: str | Path) -> str:
        """What a command says that must succeed."""
        command = [str(RCLONE), *map(str, argv)]
        done = subprocess.run(
            command, env=self._env, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def rclone(s3: Server, mount: Mount) -> Rclone:
    return Rclone(s3, mount)


@dataclass(frozen=True, slots=True)
class Facts:
    """What rclone keeps of a file."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: str


def files(root: Path) -> dict[str, Facts]:
    """Every ordinary file."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            digest = sha256(path.read_bytes()).hexdigest()
            facts = Facts(mode, status.st_uid, status.st_gid, status.st_mtime_ns, digest)
            found[str(path.relative_to(root))] = facts
    return found


def make_files(root: Path) -> Path:
    """A tree without links and empty directories, of several owners, with one file of several parts."""
    make_tree(root, seed=11, files=16)
    for path in [path for path in root.rglob("*") if path.is_symlink()]:
        path.unlink()
    (root / "empty" / "dir").rmdir()
    (root / "empty").rmdir()
    (root / "large").write_bytes(os.urandom(LARGE))
    for number, path in enumerate(sorted(root.rglob("*"))):
        mode = path.stat().st_mode
        os.chown(path, 1000 + number, 2000 + number)
        path.chmod(stat.S_IMODE(mode))
    return root


def test_what_rclone_copies_to_the_store_is_right_here(mount: Mount, rclone: Rclone, scratch: Path) -> None:
    source = make_files(scratch / "source")
    mount.unmount()
    rclone("copy", "-M", source, rclone.remote)
    mount.start()
    assert files(mount.workspace) == files(source)
    rclone("check", "--download", source, rclone.remote)


def test_what_is_written_here_is_right_where_rclone_copies_it(
    mount: Mount, rclone: Rclone, scratch: Path
) -> None:
    """All but the modes, which we write in decimal as s3fs does, and rclone takes for octal."""
    make_files(mount.workspace)
    rclone("copy", "-M", rclone.remote, scratch / "target")
    assert without_modes(files(scratch / "target")) == without_modes(files(mount.workspace))
    rclone("check", "--download", rclone.remote, scratch / "target")
    rclone("check", "--download", rclone.remote, mount.workspace)


def test_a_file_written_here_needs_no_second_copy(mount: Mount, rclone: Rclone, scratch: Path) -> None:
    """rclone finds its own idea of a file's time in what we store."""
    target = scratch / "target"
    make_files(mount.workspace)
    rclone("copy", "-M", rclone.remote, target)
    assert "0 B / 0 B" in rclone("copy", "-M", "-v", rclone.remote, target)
    (mount.workspace / "large").write_bytes(b"smaller now")
    rclone("copy", "-M", rclone.remote, target)
    assert (target / "large").read_bytes() == b"smaller now"


def test_a_link_that_rclone_stored_is_one_here(mount: Mount, rclone: Rclone, scratch: Path) -> None:
    source = scratch / "source"
    source.mkdir()
    (source / "link").symlink_to("../où")
    mount.unmount()
    rclone("copy", "-M", "--links", source, rclone.remote)
    mount.start()
    assert os.readlink(mount.workspace / "link.rclonelink") == "../où"


def test_directories_that_rclone_marked_are_directories_here(
    mount: Mount, rclone: Rclone, scratch: Path
) -> None:
    source = scratch / "source"
    (source / "empty" / "deep").mkdir(parents=True)
    mount.unmount()
    rclone("copy", "-M", "--s3-directory-markers", "--create-empty-src-dirs", source, rclone.remote)
    mount.start()
    assert (mount.workspace / "empty" / "deep").is_dir()
    assert list((mount.workspace / "empty" / "deep").iterdir()) == []
    (mount.workspace / "empty" / "deep").rmdir()
    (mount.workspace / "empty").rmdir()


def test_rclone_sees_the_directories_made_here(mount: Mount, rclone: Rclone) -> None:
    (mount.workspace / "empty" / "deep").mkdir(parents=True)
    assert rclone("lsf", "-R", "--s3-directory-markers", rclone.remote).split() == ["empty/", "empty/deep/"]


def without_modes(found: dict[str, Facts]) -> dict[str, Facts]:
    return {name: replace(facts, mode=0) for name, facts in found.items()}
