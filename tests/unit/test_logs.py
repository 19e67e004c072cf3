"""One line per event, and no secret in it."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from vfs.obs import logs


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Logging goes there; what pytest had set up comes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield tmp_path / "log"
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("redis://:hunter2@host:6379/0", "redis://***@host:6379/0"),
        ("at s3://AKIA:hunter2@host/b?x=1 and on", "at s3://***@host/b?x=1 and on"),
        ("postgres://me@host and rediss://u:p@h", "postgres://***@host and rediss://***@h"),
        ("http://h/k?X-Amz-Signature=hunter2&X-Amz-Date=1", "http://h/k?X-Amz-Signature=***&X-Amz-Date=1"),
        ("password: hunter2, user: me", "password: ***, user: me"),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=***"),
        ("aws_secret_access_key = 'hunter 2' x", "aws_secret_access_key = *** x"),
        ("GET /users/u1@example.org/workspace/a 200", "GET /users/u1@example.org/workspace/a 200"),
        ("file:///srv/a@b", "file:///srv/a@b"),
    ],
)
def test_redact(text: str, clean: str) -> None:
    assert logs.redact(text) == clean


def test_an_event_is_one_line_of_keys_and_values(log_file: Path) -> None:
    logs.configure("info", log_file)
    structlog.get_logger().info("mounted", user="u1", note="a b\nc", count=3, nothing=None, on=True)
    (line,) = lines(log_file)
    assert line.startswith("time=20")
    assert ' level=info event=mounted user=u1 note="a b\\\\nc" count=3 ' in line
    assert "on=true" in line


def test_levels_below_the_chosen_one_are_dropped(log_file: Path) -> None:
    logs.configure("warning", log_file)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    logging.getLogger("library").info("quiet")
    assert ["event=loud" in line for line in lines(log_file)] == [True]


def test_libraries_warnings_and_exceptions_are_lines_as_well(log_file: Path) -> None:
    logs.configure("info", log_file)
    logging.getLogger("library").error("failed %s", "redis://:hunter2@h", extra={"attempt": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    try:
        raise ValueError("with redis://:hunter2@h")
    except ValueError as error:
        structlog.get_logger().error("broke", exc_info=error)
    library, warning, broke = lines(log_file)
    assert "level=error" in library
    assert "redis://***@h" in library
    assert "attempt=2" in library
    assert "level=warning" in warning
    assert "DeprecationWarning: old" in warning
    assert "ValueError: with redis://***@h" in broke
    assert "hunter2" not in log_file.read_text()


def test_the_file_is_private_and_bounded(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 10_000)
    old = os.umask(0)
    try:
        logs.configure("info", log_file)
        for number in range(1000):
            structlog.get_logger().info("filler", number=number, text="x" * 50)
    finally:
        os.umask(old)
    files = sorted(log_file.parent.iterdir())
    assert len(files) == 1 + logs.FILES_KEPT
    assert sum(file.stat().st_size for file in files) <= 10_000 * len(files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "number=999" in log_file.read_text()


def test_what_is_printed_follows_the_file_through_a_rotation(tmp_path: Path) -> None:
    """libfuse prints to descriptor 2; a daemon's must not stay with a file that was rotated away."""
    script = (
        "import os, sys, structlog; from pathlib import Path; from vfs.obs import logs\n"
        "logs.FILE_BYTES = 200\n"
        "logs.configure('info', Path(sys.argv[1]), adopt=True)\n"
        "os.write(2, b'first\\n')\n"
        "for number in range(5): structlog.get_logger().info('filler', text='x' * 60)\n"
        "os.write(2, b'last\\n')\n"
    )
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", script, str(log)], capture_output=True, timeout=60, check=True
    )
    assert done.stderr == b""
    assert log.read_text().splitlines()[-1] == "last"


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        logs.configure("info", tmp_path / "missing" / "log")
