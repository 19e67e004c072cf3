"""Data that programs keep in files: databases, logs, files replaced by rename, large ones."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fuse.conftest import Disk, long_on_s3

MIB = 1 << 20

TRANSACTIONS = r"""
import sqlite3, sys
path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
database = sqlite3.connect(path, timeout=60, isolation_level=None)
for number in range(first, first + count):
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO note VALUES (?, ?)", (number, f"note {number} " * 20))
    database.execute("UPDATE total SET count = count + 1")
    database.execute("COMMIT")
database.close()
"""


@pytest.mark.parametrize(
    ("disk", "journal"),
    [
        ("native", "delete"),
        ("native", "wal"),
        pytest.param("s3", "delete", marks=pytest.mark.long),
        ("s3", "wal"),
    ],
    indirect=["disk"],
)
def test_sqlite_with_two_writers(disk: Disk, journal: str) -> None:
    path = disk.path / "notes.db"
    database = sqlite3.connect(path)
    assert database.execute(f"PRAGMA journal_mode={journal}").fetchone() == (journal,)
    database.executescript(
        "CREATE TABLE note (number INTEGER PRIMARY KEY, text); CREATE TABLE total (count);"
        "INSERT INTO total VALUES (0)"
    )
    database.close()
    argv = [sys.executable, "-c", TRANSACTIONS, str(path)]
    writers = [subprocess.Popen([*argv, str(first), "250"]) for first in (0, 250)]
    assert [writer.wait(100) for writer in writers] == [0, 0]
    disk.remount()
    assert disk.run("sqlite3", path, "PRAGMA integrity_check; SELECT count FROM total;") == "ok\n500\n"
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*), min(number), max(number) FROM note").fetchone() == (500, 0, 499)
    database.execute("DELETE FROM note WHERE number % 2")
    database.commit()
    database.execute("VACUUM")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


@long_on_s3
def test_two_thousand_appends_each_reopening_the_file(disk: Disk) -> None:
    path = disk.path / "log.txt"
    lines = [f"{number:05} {'x' * (number % 90)}\n" for number in range(2000)]
    for line in lines:
        with path.open("a") as log:
            log.write(line)
    assert path.read_text() == "".join(lines)
    disk.remount()
    assert path.read_text() == "".join(lines)


@long_on_s3
def test_readers_never_see_a_torn_file(disk: Disk) -> None:
    path = disk.path / "state.json"
    sizes = [1 + (number * 7919) % 60_000 for number in range(200)]
    path.write_bytes(b"0" * sizes[0])
    done = threading.Event()
    torn: list[str] = []
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            seen.add(content[:1])
            if content.count(content[:1]) != len(content) or len(content) not in sizes:
                torn.append(f"{len(content)} bytes of {set(content)}")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number, size in enumerate(sizes):
            temporary = path.with_suffix(".tmp")
            with temporary.open("wb") as file:
                file.write(bytes([ord("0") + number % 10]) * size)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
    finally:
        done.set()
        reader.join()
    assert not torn
    assert len(seen) > 1, "the reader never saw a change"
    disk.remount()
    assert path.read_bytes() == bytes([ord("0") + 199 % 10]) * sizes[199]
    assert os.listdir(disk.path) == ["state.json"]


def _sha256(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_quarter_gigabyte_hashes_the_same_after_a_remount(native_disk: Disk) -> None:
    path = native_disk.path / "data.bin"
    expected = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for _ in range(64):
            block = os.urandom(4 * MIB)
            expected.update(block)
            assert file.write(block) == len(block)
    assert path.stat().st_size == 256 * MIB
    assert _sha256(path) == expected.hexdigest()
    native_disk.remount()
    assert _sha256(path) == expected.hexdigest()


def test_eight_threads_with_two_hundred_files_each(native_disk: Disk) -> None:
    failures: list[BaseException] = []

    def content(worker: int, number: int) -> bytes:
        return f"{worker}/{number}\n".encode() * (1 + number * 13 % 600)

    def work(worker: int) -> None:
        try:
            directory = native_disk.path / f"worker{worker}"
            directory.mkdir()
            for number in range(200):
                (directory / f"{number}").write_bytes(content(worker, number))
            for number in range(0, 200, 10):
                (directory / f"{number}").rename(directory / f"renamed{number}")
            for number in range(5, 200, 10):
                (directory / f"{number}").unlink()
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    native_disk.remount()
    for worker in range(8):
        directory = native_disk.path / f"worker{worker}"
        expected = {
            (f"renamed{number}" if number % 10 == 0 else f"{number}"): content(worker, number)
            for number in range(200)
            if number % 10 != 5
        }
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == expected
