"""`mount -t fuse.agentfs` and /etc/fstab lines through the real mount(8), and mounting as an ordinary user.

All of it runs in a mount namespace of its own, so that this machine's /usr/sbin and /dev/fuse stay what they are;
the mounts that are made there end with it.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount

SOMEBODY = pwd.getpwnam("games").pw_uid
"""A user of every Debian who mounts nothing: `agentfs status` shows all mounts of a user, whoever made them."""

NAMELESS = 61234

HELPER_DIRECTORY = """
mount -t tmpfs none "$(realpath /sbin)"
ln -s "$BIN/mount.fuse.agentfs" /sbin/mount.fuse.agentfs
"""
"""mount(8) looks for its helpers in /sbin alone; nothing else in there is needed here."""

USE = """
test "$(ls "$MNT")" = "memory
workspace"
echo hello > "$MNT/workspace/file"
agentfs status "$MNT"
grep " $MNT " /proc/self/mountinfo
agentfs umount "$MNT"
test "$(cat "$STORE/users/u1/workspace/file")" = hello
"""


@pytest.fixture
def place(mounts: MakeMount) -> Mount:
    """An unmounted place, and a directory with the two commands as pip installs them."""
    assert os.geteuid() == 0, "namespaces need root"
    mount = mounts(started=False)
    (mount.base / "bin").mkdir()
    for name, function in (("agentfs", "main"), ("mount.fuse.agentfs", "fstab_main")):
        script = mount.base / "bin" / name
        script.write_text(f"#!{sys.executable}\nfrom mount import {function}\n{function}()\n")
        script.chmod(0o755)
    return mount


def run(place: Mount, script: str) -> subprocess.CompletedProcess[str]:
    """A shell script in a new mount namespace; it ends at the first command that fails."""
    binaries = place.base / "bin"
    env = place.env | {"BIN": str(binaries), "MNT": str(place.root), "STORE": str(place.store_dir)}
    env |= {"PATH": f"{binaries}:/usr/sbin:/usr/bin:/sbin:/bin", "BASE": str(place.base)}
    return subprocess.run(
        ["unshare", "-m", "sh", "-eu", "-c", script],
        env=env,
        cwd=place.base,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def succeeded(place: Mount, script: str) -> str:
    done = run(place, script)
    assert done.returncode == 0, done
    return done.stdout


def test_mount_finds_the_command_on_the_path(place: Mount) -> None:
    """Without /sbin/mount.fuse.agentfs, mount.fuse3 runs `agentfs SOURCE MOUNTPOINT -o ...` (the system's path)."""
    local = 'mount -t tmpfs none /usr/local/sbin; ln -s "$BIN/agentfs" /usr/local/sbin/\n'
    mounting = 'mount -t fuse.agentfs -o agentfs_user=u1,ram_limit=64M "file://$STORE" "$MNT"'
    said = succeeded(place, local + mounting + USE)
    assert " rw,nosuid,nodev" in said, "what mount(8) adds must not undo these"
    assert f"agentfs: {place.root} user=u1 store=file://{place.store_dir} pid=" in said
    assert "ram_limit=64M" in said


def test_mount_uses_its_helper(place: Mount) -> None:
    options = "rw,noatime,nofail,x-systemd.automount,_netdev,user_id=u1,log_file=$BASE/log"
    said = succeeded(
        place, HELPER_DIRECTORY + f'mount -t fuse.agentfs -o {options} "file://$STORE" "$MNT"' + USE
    )
    assert f"log_file={place.base}/log" in said


@pytest.mark.parametrize("user", ["agentfs_user=u1", "user_id=u1"])
def test_a_line_in_fstab(place: Mount, user: str) -> None:
    line = f"agentfs {place.root} fuse.agentfs {user},allow_other,umask=077,_netdev,nofail,x-agentfs.note=1 0 0\n"
    (place.base / "fstab").write_text(line)
    script = 'export AGENTFS_STORE="file://$STORE"\nmount -T "$BASE/fstab" "$MNT"'
    succeeded(place, HELPER_DIRECTORY + script + USE)


def test_mount_all_and_plain_umount(place: Mount) -> None:
    """`umount` of util-linux works as well: the daemon notices, and ends."""
    (place.base / "fstab").write_text(
        f"file://{place.store_dir} {place.root} fuse.agentfs agentfs_user=u1 0 0\n"
    )
    script = """
    mount -T "$BASE/fstab" -a
    pid=$(agentfs status "$MNT" --json | grep -o '"pid": [0-9]*' | cut -d' ' -f2)
    echo data > "$MNT/memory/file"
    umount "$MNT"
    for _ in $(seq 100); do [ -e "/proc/$pid/exe" ] || break; sleep 0.1; done
    [ ! -e "/proc/$pid/exe" ]
    """
    succeeded(place, HELPER_DIRECTORY + script)
    assert (place.user_dir / "memory" / "file").read_text() == "data\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("agentfs_user=u1,ram_limt=1G", "agentfs: -o ram_limt=1G: unknown option; did you mean ram_limit?"),
        ("agentfs_user=../x", "agentfs: --user: '../x' is not allowed"),
        ("rw", "agentfs: whose files?"),
    ],
)
def test_a_bad_line_fails_with_the_reason(place: Mount, options: str, says: str) -> None:
    done = run(place, HELPER_DIRECTORY + f'mount -t fuse.agentfs -o {options} agentfs "$MNT"')
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_mount_dash_f_only_pretends(place: Mount) -> None:
    succeeded(
        place,
        '"$BIN/mount.fuse.agentfs" "file://$STORE" "$MNT" -f -o agentfs_user=u1; test -z "$(ls "$MNT")"',
    )


ORDINARY_USER = f"""
mount -t tmpfs -o dev none "$BASE/device"
mknod "$BASE/device/fuse" c 10 229
chmod "$FUSE_MODE" "$BASE/device/fuse"
mount --bind "$BASE/device/fuse" /dev/fuse
as_user() {{
    setpriv --reuid "${{REUID:-{SOMEBODY}}}" --regid {SOMEBODY} --clear-groups \\
        --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"
}}
"""
"""The capability is only for a Python below a home that others may not enter; fusermount3 does not inherit it."""


def ordinary(place: Mount, script: str, mode: str = "666") -> subprocess.CompletedProcess[str]:
    (place.base / "device").mkdir()
    for path in (place.root, place.store_dir, place.base / "home", place.base / "run"):
        os.chown(path, SOMEBODY, SOMEBODY)
    parent = place.base
    while parent != Path("/tmp"):
        parent.chmod(0o755)
        parent = parent.parent
    return run(place, f"FUSE_MODE={mode}\n" + ORDINARY_USER + script)


def test_an_ordinary_user_mounts_and_unmounts(place: Mount) -> None:
    script = """
    as_user agentfs mount "$MNT" --user u1 --store "file://$STORE"
    as_user sh -c 'echo mine > "$MNT/workspace/file"'
    as_user agentfs status
    agentfs status "$MNT"
    as_user agentfs umount "$MNT"
    """
    done = ordinary(place, script)
    assert done.returncode == 0, done
    assert done.stdout.count(f"{place.root} user=u1 ") == 3
    assert (place.user_dir / "workspace" / "file").stat().st_uid == SOMEBODY


def test_root_unmounts_what_a_user_mounted(place: Mount) -> None:
    script = 'as_user agentfs mount "$MNT" --user u1 --store "file://$STORE"; agentfs umount "$MNT"'
    done = ordinary(place, script)
    assert done.returncode == 0, done


@pytest.mark.parametrize(
    ("mode", "args", "says"),
    [
        (
            "600",
            "",
            "agentfs: /dev/fuse cannot be opened (Permission denied): run `chmod 666 /dev/fuse` as root\n",
        ),
        (
            "666",
            "--allow-other",
            "agentfs: --allow-other is refused to ordinary users: as root, add the line",
        ),
    ],
)
def test_what_an_ordinary_user_may_not(place: Mount, mode: str, args: str, says: str) -> None:
    script = f"""
    echo > "$BASE/fuse.conf"; mount --bind "$BASE/fuse.conf" /etc/fuse.conf
    as_user agentfs mount "$MNT" --user u1 --store "file://$STORE" {args}
    """
    done = ordinary(place, script, mode)
    assert done.returncode == 1
    assert done.stderr.startswith(says), done
    assert len(done.stderr.splitlines()) == 1


def test_fusermount_wants_a_user_to_have_a_name(place: Mount) -> None:
    done = ordinary(
        place,
        f'REUID={NAMELESS}; chown $REUID "$MNT"; as_user agentfs mount "$MNT" --user u1 --store "file://$STORE"',
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"agentfs: uid {NAMELESS} has no name, and fusermount3 mounts for nobody without: "
        "add it to /etc/passwd, or mount as root\n"
    )


def test_a_directory_of_another_is_no_mountpoint_for_a_user(place: Mount) -> None:
    script = 'mkdir "$BASE/roots"; as_user agentfs mount "$BASE/roots" --user u1 --store "file://$STORE"'
    done = ordinary(place, script)
    assert done.returncode == 1
    assert done.stderr == (
        f"agentfs: no permission to mount on {place.base}/roots: choose a directory you may write to\n"
    )


def test_a_user_may_not_unmount_for_another(place: Mount) -> None:
    script = """
    agentfs mount "$MNT" --user u1 --store "file://$STORE"
    ! as_user agentfs umount "$MNT"
    agentfs umount "$MNT"
    """
    done = ordinary(place, script)
    assert done.returncode == 0, done
    assert done.stderr == f"agentfs: {place.root} belongs to uid 0: run this as that user, or as root\n"
