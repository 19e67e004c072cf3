"""The command that starts the daemon in the background: it tells what became of it, and leaves none that failed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from vfs.daemon.background import Background, default_log_file
from vfs.errors import ConfigError, VfsError

SAY = "echo '%s' > /proc/$$/fd/$AGENTFS_READY_FD"


def background(tmp_path: Path, script: str, seconds: float = 20.0) -> Background:
    (tmp_path / "daemon").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "daemon").chmod(0o700)
    return Background([str(tmp_path / "daemon")], tmp_path, tmp_path / "log", seconds)


def test_a_daemon_that_is_ready_is_left_alone(tmp_path: Path) -> None:
    ready = SAY % '{"ready":1}'
    start = background(tmp_path, f"{ready}; exec sleep 30")
    pid = start.start()
    try:
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        assert os.readlink(f"/proc/{pid}/fd/2") == str(start.log_file)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("script", "seconds", "says"),
    [
        (SAY % '{"error":"no room"}' + "; exec sleep 30", 20, "no room"),
        ("exit 3", 20, "the daemon ended with 3 before the mount answered; see "),
        ("kill -9 $$", 20, "the daemon was killed by SIGKILL before the mount answered; see "),
        ("exec sleep 30", 0.2, "the daemon was not ready within 0.2 s; see "),
    ],
)
def test_a_daemon_that_fails_leaves_nothing(tmp_path: Path, script: str, seconds: float, says: str) -> None:
    marker = f"echo $$ > {tmp_path}/pid; "
    with pytest.raises(VfsError) as failure:
        background(tmp_path, marker + script, seconds).start()
    assert says in str(failure.value)
    pid = (tmp_path / "pid").read_text().strip() if (tmp_path / "pid").exists() else "0"
    assert not Path(f"/proc/{pid}/exe").exists()


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(ConfigError, match="choose another with --log-file"):
        background(tmp_path, "exit 0").start()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process; Ctrl-C is pressed when it is there, and nobody knows of it yet."""
    processes: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def interrupted(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(popen(*args, **options))
        os.kill(os.getpid(), signal.SIGINT)
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    return processes


def test_a_daemon_that_was_just_started_is_ended(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        background(tmp_path, "exec sleep 30").start()
    [process] = started
    assert process.returncode == -signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_need_not_hear_of_it(tmp_path: Path) -> None:
    reasons: list[VfsError] = []

    def start() -> None:
        try:
            background(tmp_path, "exit 3").start()
        except VfsError as error:
            reasons.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(30)
    [reason] = reasons
    assert "ended with 3" in str(reason)


def test_where_logs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = default_log_file(
        "u1", Path("/mnt/agent"), {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": "/none"}
    )
    assert log.parent == tmp_path / "state" / "agentfs"
    assert log.name.startswith("u1-")
    assert log.suffix == ".log"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    log = default_log_file("u1", Path("/mnt/agent"), {"XDG_STATE_HOME": str(tmp_path / "file")})
    assert log.parent == tmp_path / "agentfs"
