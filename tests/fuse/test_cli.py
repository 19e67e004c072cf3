"""The `agentfs` command with a real mount: what it prints, what it returns, what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mountinfo import detach
from tests.mounting import Mount

WAIT_SECONDS = 20.0


@pytest.fixture
def place(mounts: MakeMount) -> Iterator[Mount]:
    """A mountpoint and a store, nothing mounted. What a test mounts in the background ends with the test."""
    mount = mounts(started=False)
    yield mount
    pid = daemon_pid(mount)
    if mount.mounted:
        detach(mount.root)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def daemon_pid(mount: Mount) -> int:
    done = mount.agentfs("status", str(mount.root), "--json")
    return int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else 0


def mount_it(mount: Mount, *more: str) -> subprocess.CompletedProcess[str]:
    return mount.agentfs("mount", str(mount.root), "--user", "u1", "--store", mount.store_url, *more)


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The only line on stderr, of a command that failed."""
    assert done.returncode == code, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("agentfs: ")
    return line.removeprefix("agentfs: ")


def gone(pid: int) -> bool:
    """Waits for the end of a process that is not a child of this one."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def background_child(parent: int) -> int:
    """The daemon that a command has started: the child with a session of its own; 0 if there is none yet."""
    for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        with suppress(ProcessLookupError):
            if os.getsid(pid) == pid:
                return pid
    return 0


def test_mount_status_umount(place: Mount) -> None:
    done = mount_it(place)
    assert (done.returncode, done.stderr) == (0, "")
    said = re.fullmatch(
        rf"agentfs: {place.root} user=u1 store=file://{place.store_dir} pid=(\d+)\n", done.stdout
    )
    assert said, done.stdout
    pid = int(said[1])
    assert sorted(os.listdir(place.root)) == ["memory", "workspace"]
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    (place.workspace / "a").write_bytes(b"hello")

    status = place.agentfs("status", str(place.root), "--json")
    report = json.loads(status.stdout)
    assert status.returncode == 0
    expected = {"mountpoint": str(place.root), "user": "u1", "pid": pid, "state": "serving", "open_files": 0}
    assert expected.items() <= report.items()
    assert report["rss"] > 10 << 20
    assert report["requests"]["requests"]["write"] == 1
    log = Path(report["log_file"])
    assert log.parent == place.base / "home" / "state" / "agentfs"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    line = place.agentfs("status").stdout
    assert f"{place.root} user=u1 " in line

    done = place.agentfs("umount", str(place.root))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not place.mounted
    assert not Path(f"/proc/{pid}/exe").exists()
    assert (place.user_dir / "workspace" / "a").read_bytes() == b"hello"
    assert os.listdir(place.base / "run" / "agentfs") == []
    assert "WARN" not in log.read_text().upper()
    log.unlink()


def test_options_may_be_given_as_in_fstab(place: Mount) -> None:
    """Also where the words look like what mount(8) says to its helper."""
    done = place.agentfs("mount", str(place.root), "-o", f"user=u2,ro,noexec,store={place.store_url}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "user=u2" in done.stdout
    with pytest.raises(OSError, match="Read-only file system"):
        (place.workspace / "file").write_text("")
    flags = os.statvfs(place.root).f_flag
    assert flags & os.ST_NOEXEC
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV


def test_a_second_mount_there_is_refused_and_names_the_first(place: Mount) -> None:
    assert mount_it(place).returncode == 0
    line = one_line(mount_it(place))
    assert line.startswith(f"{place.root} is already mounted (user=u1 pid={daemon_pid(place)}): ")
    assert daemon_pid(place)


def test_of_two_mounts_at_once_one_wins(place: Mount) -> None:
    argv = [
        sys.executable,
        "-m",
        "mount",
        "mount",
        str(place.root),
        "--user",
        "u1",
        "--store",
        place.store_url,
    ]
    both = [
        subprocess.Popen(
            argv, env=place.env, cwd=place.base, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [command.communicate(timeout=60) for command in both]
    assert sorted(command.returncode for command in both) == [0, 1], said
    assert any("already" in error for _, error in said)
    assert place.agentfs("umount", str(place.root)).returncode == 0
    assert not place.mounted


def test_a_store_that_is_away_keeps_the_mount_unless_forced(place: Mount) -> None:
    assert os.geteuid() == 0, "needs to mount a store of its own"
    subprocess.run(["mount", "-t", "tmpfs", "none", place.store_dir], check=True, timeout=30)
    try:
        assert mount_it(place).returncode == 0
        pid = daemon_pid(place)
        file = (place.workspace / "file").open("wb", buffering=0)
        subprocess.run(["mount", "-o", "remount,ro", place.store_dir], check=True, timeout=30)
        file.write(b"x" * 100)
        line = one_line(place.agentfs("umount", str(place.root)))
        assert line.startswith(f"{place.root} stays mounted, not everything could be stored: ")
        assert place.mounted
        forced = place.agentfs("umount", "--force", str(place.root))
        assert forced.returncode == 0, forced
        assert "given up what was not stored" in forced.stderr
        assert gone(pid)
        with suppress(OSError):
            file.close()
    finally:
        subprocess.run(["umount", "-l", place.store_dir], check=True, timeout=30)


def test_a_dead_mount_is_named_and_forced_away(place: Mount) -> None:
    assert mount_it(place).returncode == 0
    pid = daemon_pid(place)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert "is a dead mount" in one_line(mount_it(place))
    line = one_line(place.agentfs("umount", str(place.root)))
    assert f"use `agentfs umount --force {place.root}`" in line
    status = place.agentfs("status", str(place.root))
    assert status.returncode == 1
    assert "state=dead" in status.stdout
    forced = place.agentfs("umount", "--force", str(place.root))
    assert (forced.returncode, forced.stderr) == (0, "")
    assert mount_it(place).returncode == 0


def test_busy_is_refused_with_names(place: Mount) -> None:
    assert mount_it(place).returncode == 0
    opened = (place.workspace / "file").open("wb")
    inside = subprocess.Popen(["sleep", "60"], cwd=place.memory)
    try:
        done = place.agentfs("umount", str(place.root))
        assert done.returncode == 1
        first, *rest = done.stderr.splitlines()
        assert first == f"agentfs: {place.root} is busy: end what uses it and try again, or --force"
        assert f"  pid {inside.pid} sleep 60 (working directory)" in rest
        assert any(
            f"pid {os.getpid()} " in line and f"(open file {place.workspace}/file)" in line for line in rest
        )
        assert place.agentfs("status", str(place.root)).returncode == 0
    finally:
        inside.kill()
        inside.wait()
        opened.close()
    assert place.agentfs("umount", str(place.root)).returncode == 0


def test_a_mount_that_is_bound_elsewhere_is_busy(place: Mount) -> None:
    assert os.geteuid() == 0, "bind mounts need root"
    assert mount_it(place).returncode == 0
    bound = place.base / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", place.workspace, bound], check=True, timeout=30)
    try:
        done = place.agentfs("umount", str(place.root))
        assert done.returncode == 1
        assert f"  mounted at {bound}" in done.stderr.splitlines()
        assert place.mounted
    finally:
        subprocess.run(["umount", bound], check=True, timeout=30)


def test_force_takes_a_busy_mount_and_stores_what_was_written(place: Mount) -> None:
    assert mount_it(place).returncode == 0
    pid = daemon_pid(place)
    with (place.workspace / "file").open("wb", buffering=0) as file:
        file.write(b"unsaved")
        done = place.agentfs("umount", "--force", str(place.root))
        assert (done.returncode, done.stderr) == (0, "")
        assert not place.mounted
        assert gone(pid)
        with suppress(OSError):
            file.close()
    assert (place.user_dir / "workspace" / "file").read_bytes() == b"unsaved"


def test_a_hung_daemon_is_said_in_bounded_time_and_forced_away(place: Mount) -> None:
    assert mount_it(place, "--workspace-ttl", "0", "--memory-ttl", "0").returncode == 0
    pid = daemon_pid(place)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["stat", place.root], capture_output=True, timeout=0.5, check=False)
    began = time.monotonic()
    status = place.agentfs("status", str(place.root), timeout=20)
    assert status.returncode == 1
    assert "state=hung" in status.stdout
    assert f"pid={pid}" in status.stdout
    line = one_line(place.agentfs("umount", str(place.root), "--timeout", "1", timeout=30))
    assert f"the daemon (pid {pid}) did not answer `drain`" in line
    assert "--force" in line
    forced = place.agentfs("umount", "--force", "--timeout", "1", str(place.root), timeout=60)
    assert forced.returncode == 0
    assert "given up what was not stored" in forced.stderr
    assert gone(pid)
    assert not place.mounted
    assert time.monotonic() - began < 60


def test_sigusr1_logs_the_status(mount: Mount) -> None:
    os.kill(mount.pid, signal.SIGUSR1)
    deadline = time.monotonic() + WAIT_SECONDS
    while "event=status" not in mount.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    (line,) = [line for line in mount.log.read_text().splitlines() if "event=status" in line]
    assert "user=u1" in line
    assert "dirty_bytes=0" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_foreground_ends_cleanly_on_a_signal(mount: Mount, number: signal.Signals) -> None:
    (mount.workspace / "a").write_bytes(b"1")
    mount.terminate(number=number)


def test_a_second_signal_ends_at_once(mount: Mount) -> None:
    """The first one waits for the store, the second for nothing."""
    mount.expect_log("forced to end")
    os.kill(mount.pid, signal.SIGTERM)
    os.kill(mount.pid, signal.SIGINT)
    deadline = time.monotonic() + WAIT_SECONDS
    while mount.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not mount.alive
    assert not mount.mounted
    assert "forced to end" in mount.log.read_text()


def test_ctrl_c_while_waiting_leaves_nothing(place: Mount) -> None:
    """The command in front is interrupted before the daemon has mounted."""
    argv = [
        sys.executable,
        "-m",
        "mount",
        "mount",
        str(place.root),
        "--user",
        "u1",
        "--store",
        place.store_url,
    ]
    for _attempt in range(20):
        command = subprocess.Popen(argv, env=place.env, cwd=place.base, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + WAIT_SECONDS
        while not (daemon := background_child(command.pid)) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert daemon
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=30)
        if command.returncode != 0:
            break
        place.unmount()  # it was quicker than this test on a busy machine
    assert command.returncode == 130
    assert said.strip() == "agentfs: interrupted"
    assert gone(daemon)
    assert not place.mounted


def test_what_another_daemon_left_in_the_runtime_directory_is_cleared(place: Mount) -> None:
    import socket

    assert mount_it(place).returncode == 0
    run = place.base / "run" / "agentfs"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run / "0123456789abcdef.sock"))
    assert place.agentfs("status").returncode in (0, 1)  # other tests' mounts are shown to root
    assert [path.name for path in run.iterdir()] != []
    assert not (run / "0123456789abcdef.sock").exists()
