"""Chapter 10: FIFOs, sockets, devices."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.semantics.program import Stored, fails_with


@semantics("S10.1")
def test_special_files_persist(disk: Mount, work: Path) -> None:
    os.mkfifo(work / "fifo", 0o640)
    os.mknod(work / "socket", stat.S_IFSOCK | 0o600)
    disk.remount()
    assert stat.filemode((work / "fifo").stat().st_mode) == "prw-r-----"
    assert stat.filemode((work / "socket").stat().st_mode) == "srw-------"


@semantics("S10.1")
def test_a_fifo_connects_processes(work: Path) -> None:
    os.mkfifo(work / "fifo")
    writer = threading.Thread(target=(work / "fifo").write_bytes, args=(b"through the pipe",))
    writer.start()
    assert (work / "fifo").read_bytes() == b"through the pipe"
    writer.join()


@semantics("S10.1")
def test_a_socket_connects_processes(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)  # a socket's path has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        client.connect("socket")
        accepted, _ = server.accept()
        with accepted:
            client.send(b"hello")
            assert accepted.recv(10) == b"hello"
    monkeypatch.chdir("/")


@semantics("S10.2", "S10.3")
def test_devices_keep_their_numbers_and_stay_closed(disk: Mount, work: Path, stored: Stored) -> None:
    numbers = os.makedev(7, 300)
    os.mknod(work / "block", stat.S_IFBLK | 0o640, numbers)
    os.mknod(work / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    disk.remount()
    assert stat.S_ISBLK((work / "block").stat().st_mode)
    assert (work / "block").stat().st_rdev == numbers
    with fails_with(errno.EACCES):
        os.open(work / "null", os.O_RDONLY)
    assert stored.bytes(work / "block") == b""
    assert stored.metadata(work / "block")["mode"] == str(stat.S_IFBLK | 0o640)
    assert stored.metadata(work / "block")["rdev"] == str(numbers)
