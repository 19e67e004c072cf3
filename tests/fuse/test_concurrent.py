"""Several processes on the same files at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fuse.conftest import Disk, long_on_s3

APPEND = r"""
import os, sys
path, name, count, reopen = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "reopen"
def open_it():
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
log = open_it()
for number in range(count):
    line = f"{name} {number} {'x' * (number * 37 % 3000)}\n".encode()
    assert os.write(log, line) == len(line)
    if reopen:
        os.close(log)
        log = open_it()
os.close(log)
"""

COUNT = r"""
import fcntl, os, sys
path, count = sys.argv[1], int(sys.argv[2])
for _ in range(count):
    with open(path, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        value = int(file.read())
        file.seek(0)
        file.write(str(value + 1))
        file.truncate()
"""

REPLACE = r"""
import os, sys
directory, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(count):
    temporary = os.path.join(directory, f"temporary-{name}")
    with open(temporary, "w") as file:
        file.write(f"{name}-{number}\n" * (1 + number * 7 % 500))
    os.replace(temporary, os.path.join(directory, "current"))
    with open(os.path.join(directory, "current")) as file:
        lines = set(file)
    assert len(lines) == 1, lines
"""


def _run_all(commands: list[list[str]]) -> None:
    running = [subprocess.Popen([sys.executable, "-c", *command]) for command in commands]
    assert [process.wait(90) for process in running] == [0] * len(commands)


def _lines(name: str, count: int) -> list[str]:
    return [f"{name} {number} {'x' * (number * 37 % 3000)}" for number in range(count)]


def test_appends_of_several_processes_are_neither_lost_nor_torn(disk: Disk) -> None:
    path = disk.path / "log"
    names = {"a": "keep", "b": "keep", "c": "reopen", "d": "reopen"}
    _run_all([[APPEND, str(path), name, "250", how] for name, how in names.items()])
    disk.remount()
    got = path.read_text().splitlines()
    assert len(got) == 1000
    for name in names:
        assert [line for line in got if line.startswith(name)] == _lines(name, 250)


@long_on_s3
def test_a_counter_under_flock_misses_no_step(disk: Disk) -> None:
    path = disk.path / "counter"
    path.write_text("0")
    _run_all([[COUNT, str(path), "60"] for _ in range(4)])
    assert path.read_text() == "240"
    disk.remount()
    assert path.read_text() == "240"


@long_on_s3
def test_processes_replacing_the_same_name(disk: Disk) -> None:
    directory = disk.path / "d"
    directory.mkdir()
    _run_all([[REPLACE, str(directory), name, "80"] for name in "abcd"])
    disk.remount()
    assert os.listdir(directory) == ["current"]
    lines = (directory / "current").read_text().splitlines()
    assert set(lines) <= {f"{name}-79" for name in "abcd"}
    assert len(lines) == 1 + 79 * 7 % 500


@long_on_s3
def test_tree_walked_while_it_changes(disk: Disk) -> None:
    root = disk.path / "tree"
    stays = {f"stay{number:03}" for number in range(150)}
    root.mkdir()
    for name in stays:
        (root / name).write_text(name)
    churn = r"""
import os, sys
for number in range(150):
    path = os.path.join(sys.argv[1], f"come{number}")
    open(path, "w").close()
    os.rename(path, path + ".moved")
    os.unlink(path + ".moved")
"""
    running = subprocess.Popen([sys.executable, "-c", churn, str(root)])
    walks = 0
    while running.poll() is None or walks < 3:
        names = [entry.name for entry in os.scandir(root)]
        assert len(names) == len(set(names))
        assert stays <= set(names)
        walks += 1
    assert running.wait() == 0
    assert {path.name for path in Path(root).iterdir()} == stays
