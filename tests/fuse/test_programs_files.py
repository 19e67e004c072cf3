"""Small tools of every day, each with its own way to write a file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time

from tests.fuse.conftest import Disk, long_on_s3

LINES = [f"line {number * 7919 % 5000:05}\n" for number in range(5000)]


def test_editing_in_place(disk: Disk) -> None:
    path = disk.path / "text"
    path.write_text("".join(LINES))
    path.chmod(0o640)
    disk.run("sed", "-i.bak", "s/line 00/LINE 00/", path)
    disk.run("sort", "-o", path, path)
    disk.run("sh", "-c", "echo last >> text; cat text text > double; head -n 5 text > tmp && mv tmp head")
    disk.remount()
    expected = sorted(line.replace("line 00", "LINE 00") for line in LINES)
    assert path.read_text() == "".join(expected) + "last\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert (disk.path / "text.bak").read_text() == "".join(LINES)
    assert (disk.path / "double").read_text() == path.read_text() * 2
    assert (disk.path / "head").read_text() == "".join(expected[:5])
    assert sorted(os.listdir(disk.path)) == ["double", "head", "text", "text.bak"]


@long_on_s3
def test_dd_in_the_middle_direct_and_synchronous(disk: Disk) -> None:
    path = disk.path / "image"
    expected = bytearray(os.urandom(3 << 20))
    path.write_bytes(expected)
    zeros = ["dd", "if=/dev/zero", f"of={path}", "conv=notrunc,fsync", "status=none"]
    disk.run(*zeros, "bs=4096", "seek=100", "count=10")
    disk.run(*zeros, "bs=4096", "seek=300", "count=10", "oflag=direct")
    disk.run(*zeros, "bs=1000", "seek=2", "count=3", "oflag=sync")
    for start, length in ((100 * 4096, 40960), (300 * 4096, 40960), (2000, 3000)):
        expected[start : start + length] = bytes(length)
    assert path.read_bytes() == expected
    disk.remount()
    copy = disk.path / "copy"
    disk.run("dd", f"if={path}", f"of={copy}", "bs=64K", "iflag=direct", "status=none")
    assert copy.read_bytes() == expected
    disk.run("truncate", "-s", "1000", copy)
    disk.run("truncate", "-s", "5000", copy)
    disk.remount()
    assert copy.read_bytes() == expected[:1000] + bytes(4000)


@long_on_s3
def test_split_and_join(disk: Disk) -> None:
    path = disk.path / "whole"
    path.write_bytes(os.urandom(5_000_001))
    disk.run("split", "-b", "300000", "whole", "part-")
    assert len(list(disk.path.glob("part-*"))) == 17
    disk.run("sh", "-c", "cat part-* > joined && cmp whole joined && sha256sum whole joined > sums")
    disk.remount()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (disk.path / "sums").read_text() == f"{digest}  whole\n{digest}  joined\n"
    assert disk.run("sha256sum", "-c", "sums").count("OK") == 2


@long_on_s3
def test_copies_sparse_reflinked_and_installed(disk: Disk) -> None:
    path = disk.path / "source"
    path.write_bytes(b"x" * 10_000)
    os.truncate(path, 2_000_000)
    disk.run("cp", "--sparse=always", path, disk.path / "sparse")
    disk.run("cp", "--reflink=auto", path, disk.path / "reflinked")
    disk.run("install", "-D", "-m", "0751", path, disk.path / "usr" / "bin" / "tool")
    disk.run("ln", path, disk.path / "linked")
    disk.run("touch", "-d", "2001-02-03 04:05:06.789 UTC", path)
    disk.run("chmod", "-R", "go-rwx", disk.path / "usr")
    disk.remount()
    for name in ("sparse", "reflinked", "usr/bin/tool", "linked"):
        disk.run("cmp", path, disk.path / name)
    assert disk.run("stat", "-c", "%a %s", "usr/bin/tool") == "700 2000000\n"
    assert disk.run("stat", "-c", "%.3Y", path) == "981173106.789\n"


@long_on_s3
def test_tail_follows_a_log_that_grows(disk: Disk) -> None:
    path = disk.path / "log"
    path.write_text("start\n")
    follower = subprocess.Popen(["tail", "-n", "+1", "-f", str(path)], stdout=subprocess.PIPE, text=True)
    assert follower.stdout
    try:
        with path.open("a", buffering=1) as log:
            for number in range(20):
                log.write(f"{number}\n")
                time.sleep(0.01)
            assert [follower.stdout.readline() for _ in range(21)][-1] == "19\n"
    finally:
        follower.kill()
        follower.communicate()


def test_pipes_and_sockets_connect_processes(disk: Disk) -> None:
    disk.run("mkfifo", "pipe")
    (disk.path / "big").write_bytes(os.urandom(300_000))
    disk.run("sh", "-c", "cat big > pipe & cat pipe > out; wait")
    assert (disk.path / "out").read_bytes() == (disk.path / "big").read_bytes()
    server = (
        "import socket\n"
        "server = socket.socket(socket.AF_UNIX); server.bind('s'); server.listen()\n"
        "client = socket.socket(socket.AF_UNIX); client.connect('s'); client.sendall(b'hello')\n"
        "print(server.accept()[0].recv(5).decode())\n"
    )
    assert disk.run("python3", "-c", server) == "hello\n"
