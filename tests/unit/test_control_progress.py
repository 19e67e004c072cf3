"""What is shown while an unmount takes its time."""

from __future__ import annotations

import io

from vfs.daemon.progress import ProgressDisplay


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_of_what_is_over_at_once() -> None:
    stream = Terminal()
    with ProgressDisplay(stream, patience=60.0) as display:
        display({"files": 5, "bytes": 100})
        display({"files": 0, "bytes": 0})
    assert stream.getvalue() == ""


def test_a_program_gets_one_line() -> None:
    stream = io.StringIO()
    with ProgressDisplay(stream, patience=0.0) as display:
        display({"files": 5, "bytes": 3 << 20})
        display({"files": 4, "bytes": 2 << 20})
    assert stream.getvalue() == "agentfs: storing 5 files, 3M to go\n"


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with ProgressDisplay(stream, patience=0.0) as display:
        display({"files": 5, "bytes": 4 << 20})
        display({"files": 2, "bytes": 1 << 20})
    assert "storing 2 files" in stream.getvalue()


def test_a_daemon_that_says_less_is_no_error() -> None:
    with ProgressDisplay(io.StringIO(), patience=0.0) as display:
        display({})
