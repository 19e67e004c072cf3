"""What a status looks like, to a person and to a program."""

from __future__ import annotations

import io
import time
from typing import Any

from rich.console import Console

from vfs.daemon.status import one_line, table

SERVING: dict[str, Any] = {
    "mountpoint": "/mnt/a",
    "user": "u1",
    "store": "file:///srv",
    "pid": 7,
    "state": "serving",
    "uptime": 3723.5,
    "open_files": 0,
    "dirty_bytes": 3 << 20,
    "ram_limit": 256 << 20,
    "requests": {"requests": {"read": 2, "write": 3}, "errors": {}, "seconds": {}},
    "last_error": "",
}
DEAD: dict[str, Any] = {"mountpoint": "/mnt/b", "state": "dead", "pid": 0, "last_error": "its daemon is gone"}


def printed(*reports: dict[str, Any]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=150).print(table(reports))
    return stream.getvalue()


def test_a_program_reads_one_line() -> None:
    assert one_line(SERVING) == (
        '/mnt/a user=u1 store=file:///srv pid=7 state=serving uptime="1h 2m" open_files=0 dirty_bytes=3M '
        "ram_limit=256M requests=5"
    )
    assert one_line(DEAD) == '/mnt/b state=dead last_error="its daemon is gone"'


def test_of_one_mount_everything_is_shown() -> None:
    text = printed(SERVING)
    for words in ("mountpoint", "/mnt/a", "dirty bytes", "3M", "1h 2m", "requests"):
        assert words in text


def test_of_several_mounts_each_has_a_line() -> None:
    lines = printed(SERVING, DEAD).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("/mnt")] == ["/mnt/a", "/mnt/b"]
    assert "its daemon is gone" in lines[-1]


def test_names_with_brackets_are_no_markup() -> None:
    assert "/mnt/[red]x" in printed({**SERVING, "mountpoint": "/mnt/[red]x"})


def test_a_store_that_does_not_answer_is_told() -> None:
    health = {"state": "away", "cause": "connection refused", "since": time.time() - 90, "retries": 12}
    line = one_line({**SERVING, "store_health": health, "conflicts": {"appended": 3, "kept": 1}})
    assert 'retries=12 conflicts=1 store_state="away for 1m 30s: connection refused"' in line
    assert "store_state" not in one_line({**SERVING, "store_health": {"state": "answering"}})


def test_a_redis_that_does_not_answer_is_told() -> None:
    shared = {
        "state": "away",
        "cause": "TimeoutError: Timeout reading from socket",
        "since": time.time() - 90,
    }
    assert 'redis_state="away for 1m 30s: Timeout' in one_line({**SERVING, "shared": shared})
    assert "redis_state" not in one_line({**SERVING, "shared": {**shared, "state": "connected"}})
    assert "redis_state" not in one_line({**SERVING, "shared": {"state": "", "cause": ""}})
