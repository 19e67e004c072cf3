"""Where a mount may be, and what is said when it may not."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import pytest

from vfs.daemon import glance as glance_module
from vfs.daemon.doctor import cgroup_limit
from vfs.daemon.glance import glance
from vfs.daemon.holders import holders, mounts_on
from vfs.daemon.mount_table import MountEntry, mount_table, mounted_at, unescape
from vfs.daemon.mountpoint import (
    Host,
    absolute,
    check_host,
    check_mountpoint,
    locate,
    no_allow_other,
    no_fusermount,
)
from vfs.errors import ConfigError

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
50 27 0:45 / /mnt/my\040agent rw,nosuid,nodev - fuse.agentfs agentfs rw,user_id=1000,group_id=1000
51 27 0:46 / /mnt/twice rw shared:7 master:2 - fuse.agentfs agentfs rw,user_id=0,group_id=0
52 51 0:47 / /mnt/twice rw - tmpfs tmpfs rw
53 27 0:45 /workspace /workspace rw - fuse.agentfs agentfs rw,user_id=1000,group_id=1000
54 51 0:48 / /mnt/twice/inner\134x rw - tmpfs tmpfs rw
"""

ROOT = Host(euid=0)
SOMEBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return path


def said(path: Path, host: Host = ROOT) -> str:
    with pytest.raises(ConfigError) as refusal:
        check_mountpoint(path, describe=lambda entry: "user=u1 pid=7", host=host)
    text = str(refusal.value)
    assert "\n" not in text
    return text


def test_the_table_is_read_with_its_escapes(table: Path) -> None:
    entry = mounted_at(Path("/mnt/my agent"), table)
    assert entry is not None
    assert (entry.device, entry.owner, entry.is_agentfs) == ("0:45", 1000, True)
    assert entry.connection == Path("/sys/fs/fuse/connections/45")
    assert [entry.point.name for entry in mount_table(table)][-1] == "inner\\x"
    assert unescape(r"a\011b\012c\134d") == "a\tb\nc\\d"


def test_the_uppermost_of_several_mounts_counts(table: Path) -> None:
    entry = mounted_at(Path("/mnt/twice"), table)
    assert entry is not None
    assert (entry.fstype, entry.owner) == ("tmpfs", None)
    assert mounted_at(Path("/mnt/none"), table) is None


def test_other_mounts_that_keep_one_busy(table: Path) -> None:
    entries = mount_table(table)
    agent = next(entry for entry in entries if entry.point == Path("/mnt/my agent"))
    twice = next(entry for entry in entries if entry.point == Path("/mnt/twice"))
    assert mounts_on(agent, entries) == [Path("/workspace")]
    assert mounts_on(twice, entries) == [Path("/mnt/twice/inner\\x")]


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    check_mountpoint(tmp_path, describe=lambda entry: "", host=ROOT)


def test_missing(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    assert said(path) == f"{path} does not exist: run `mkdir -p {path}` first"


def test_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert said(tmp_path / "file").startswith(f"{tmp_path}/file is not a directory: ")
    assert "is not a directory" in said(tmp_path / "file" / "below")


def test_not_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert said(tmp_path).startswith(f"{tmp_path} is not empty: choose an empty directory")


def test_another_mount_there() -> None:
    assert said(Path("/proc")).startswith("/proc is already a mount (proc): ")


def test_a_symlink_leads_to_the_place_that_is_mounted_on(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "last").symlink_to("real/deep")
    assert absolute(str(tmp_path / "link" / "deep")) == tmp_path / "real" / "deep"
    assert locate(str(tmp_path / "last")) == tmp_path / "real" / "deep"
    assert locate("/proc") == Path("/proc")
    assert locate(str(tmp_path / "missing")) == tmp_path / "missing"


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        absolute(text)


def test_a_path_that_never_answers_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance_module, "_LOOK", "import signal; signal.pause()")
    seen = glance(tmp_path, 0.2)
    assert seen.stuck
    assert not seen.answers
    assert seen.errno == errno.ETIMEDOUT


def test_a_glance_sees(tmp_path: Path) -> None:
    seen = glance(tmp_path)
    assert (seen.answers, seen.directory, seen.empty, seen.writable) == (True, True, True, True)
    assert glance(tmp_path / "missing").errno == errno.ENOENT


def test_no_fuse_device(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*/fuse: run `modprobe fuse`.*--device /dev/fuse"):
        check_host(allow_other=False, host=Host(device=tmp_path / "fuse", euid=0))
    (tmp_path / "fuse").write_text("")
    with pytest.raises(ConfigError, match=r"is not a device: .*mknod"):
        check_host(allow_other=False, host=Host(device=tmp_path / "fuse", euid=0))


def test_root_without_the_capability(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapEff:\t00000000a80425fb\n")
    with pytest.raises(ConfigError, match=r"no permission to mount .*--cap-add SYS_ADMIN"):
        check_host(allow_other=False, host=Host(device=Path("/dev/null"), status=status, euid=0))
    status.write_text("CapEff:\t000001ffffffffff\n")
    check_host(allow_other=True, host=Host(device=Path("/dev/null"), status=status, euid=0))


def test_a_user_needs_fusermount(tmp_path: Path) -> None:
    assert "apt-get install fuse3" in no_fusermount(Host(euid=SOMEBODY))
    tool = tmp_path / "fusermount3"
    tool.write_text("")
    assert f"chmod u+s {tool}" in no_fusermount(Host(euid=SOMEBODY, fusermount=str(tool)))
    assert no_fusermount(Host(euid=0)) == ""
    assert no_fusermount(Host(euid=61234)).startswith("uid 61234 has no name")


def test_allow_other_is_for_root_or_where_root_allows_it(tmp_path: Path) -> None:
    conf = tmp_path / "fuse.conf"
    assert f"add the line user_allow_other to {conf}" in no_allow_other(Host(euid=1000, fuse_conf=conf))
    conf.write_text("#user_allow_other\n")
    assert no_allow_other(Host(euid=1000, fuse_conf=conf))
    conf.write_text("mount_max = 9\n user_allow_other \n")
    assert no_allow_other(Host(euid=1000, fuse_conf=conf)) == ""
    assert no_allow_other(Host(euid=0, fuse_conf=tmp_path / "none")) == ""


def process(
    proc: Path, pid: int, command: str, *, cwd: str = "/", fds: tuple[str, ...] = (), maps: str = ""
) -> None:
    base = proc / str(pid)
    (base / "fd").mkdir(parents=True)
    (base / "cwd").symlink_to(cwd)
    (base / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
    (base / "maps").write_text(maps)
    for number, target in enumerate(fds):
        (base / "fd" / str(number)).symlink_to(target)


def test_who_holds_a_mount_is_found_without_touching_it(tmp_path: Path) -> None:
    entry = MountEntry(Path("/mnt/a b"), "0:45", "fuse.agentfs", "agentfs", "")
    process(tmp_path, 10, "bash", cwd="/mnt/a b/workspace")
    process(tmp_path, 11, "cat x", fds=("/dev/null", "/mnt/a b/workspace/x\nRoot"))
    process(
        tmp_path,
        12,
        "sqlite3",
        maps="7f00-7f01 rw-s 00000000 00:2d 12   /mnt/elsewhere/db\n7f01-7f02 rw-p 0 00:00 0\n",
    )
    process(tmp_path, 13, "innocent", cwd="/mnt/a bc", fds=("/mnt/other",), maps="7f-8f r 0 00:2e 1 /x\n")
    process(tmp_path, os.getpid(), "ourselves", cwd="/mnt/a b")
    (tmp_path / "self").mkdir()
    assert [str(holder) for holder in holders(entry, tmp_path)] == [
        "pid 10 bash (working directory)",
        "pid 11 cat x (open file /mnt/a b/workspace/x?Root)",
        "pid 12 sqlite3 (mapped file /mnt/elsewhere/db)",
    ]


@pytest.mark.parametrize(
    ("files", "own", "limit"),
    [
        ({"memory.max": "max", "a/memory.max": "1000"}, "0::/a/b", 1000),
        ({"a/memory.max": "3000", "a/b/memory.max": "2000"}, "0::/a/b", 2000),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, "4:memory:/\n0::/", None),
        ({"memory/x/memory.limit_in_bytes": "5000"}, "9:cpu:/y\n4:memory:/x", 5000),
        ({}, "0::/", None),
    ],
)
def test_the_limit_of_the_cgroup(tmp_path: Path, files: dict[str, str], own: str, limit: int | None) -> None:
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    assert cgroup_limit(tmp_path / "fs", tmp_path / "own") == limit
