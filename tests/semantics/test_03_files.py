"""Chapter 3: files and what is in them."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

from tests.conftest import MakeMount
from tests.model import linux
from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, fails_with, python


@semantics("S3.1")
def test_a_read_returns_what_was_written_last(work: Path, opened: Open) -> None:
    path = work / "file"
    writer = opened(path, os.O_CREAT | os.O_RDWR)
    reader = opened(path, os.O_RDONLY)
    for round_ in range(20):
        data = bytes([round_]) * 1000
        os.pwrite(writer, data, 100)
        assert os.pread(reader, 1000, 100) == data
        assert path.read_bytes()[100:] == data
        if round_ % 5 == 0:
            os.fsync(writer)


@semantics("S3.2")
def test_writes_at_any_offset_in_any_order(disk: Mount, work: Path, opened: Open) -> None:
    model = bytearray(40_000)
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    for i, offset in enumerate((30_000, 5, 39_990, 12_345, 0, 29_999, 12_000, 12_346)):
        data = bytes([65 + i]) * (10 if offset > 39_000 else 700)
        os.pwrite(descriptor, data, offset)
        model[offset : offset + len(data)] = data
        assert os.pread(descriptor, 50_000, 0) == bytes(model[: os.fstat(descriptor).st_size])
    os.close(descriptor)
    disk.remount()
    assert (work / "file").read_bytes() == bytes(model)


@semantics("S3.2")
def test_editing_the_middle_of_a_stored_file(disk: Mount, work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"a" * 100_000)
    disk.remount()
    with path.open("r+b") as file:
        file.seek(50_000)
        file.write(b"middle")
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    disk.remount()
    assert path.read_bytes() == b"a" * 50_000 + b"middle" + b"a" * 49_994 + b"end"


@semantics("S3.3")
def test_truncating_down_and_up_leaves_zeros(disk: Mount, work: Path, opened: Open) -> None:
    by_path, by_handle = work / "by-path", work / "by-handle"
    for path in (by_path, by_handle):
        path.write_bytes(b"x" * 10_000)
    os.truncate(by_path, 5_000)
    os.truncate(by_path, 8_000)
    descriptor = opened(by_handle, os.O_RDWR)
    os.ftruncate(descriptor, 5_000)
    os.ftruncate(descriptor, 8_000)
    expected = b"x" * 5_000 + bytes(3_000)
    assert os.pread(descriptor, 10_000, 0) == expected
    os.close(descriptor)
    disk.remount()
    assert by_path.read_bytes() == expected
    assert by_handle.read_bytes() == expected


@semantics("S3.4")
def test_appending_goes_to_the_end_of_the_moment(work: Path, opened: Open) -> None:
    path = work / "file"
    one = opened(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    other = opened(path, os.O_WRONLY | os.O_APPEND)
    for _ in range(10):
        os.write(one, b"one ")
        os.write(other, b"other ")
    os.truncate(path, 10)
    os.write(one, b"end")
    assert path.read_bytes() == b"one other end"


@semantics("S3.5")
def test_flags_of_open(work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"content")
    with fails_with(errno.EEXIST):
        os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    (work / "dangling").symlink_to("nowhere")
    with fails_with(errno.EEXIST):
        os.open(work / "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert path.read_bytes() == b"content"
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert path.read_bytes() == b""


@semantics("S3.6")
def test_reading_at_the_end(work: Path, opened: Open) -> None:
    path = work / "file"
    path.write_bytes(b"0123456789")
    descriptor = opened(path, os.O_RDONLY)
    assert os.pread(descriptor, 100, 7) == b"789"
    assert os.pread(descriptor, 100, 10) == b""
    assert os.pread(descriptor, 100, 1 << 40) == b""


@semantics("S3.7")
def test_empty_files_persist(disk: Mount, work: Path, stored: Stored) -> None:
    (work / "empty").touch()
    assert stored.bytes(work / "empty") == b""
    disk.remount()
    assert (work / "empty").read_bytes() == b""


@semantics("S3.8")
def test_direct_io_is_accepted(disk: Mount, work: Path, opened: Open) -> None:
    path = work / "file"
    descriptor = opened(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    aligned = mmap.mmap(-1, 8192)
    aligned.write(b"d" * 8192)
    assert os.pwrite(descriptor, aligned, 4096) == 8192
    assert os.pwrite(descriptor, b"odd", 1) == 3
    assert os.pread(descriptor, 10, 0) == b"\0odd" + bytes(6)
    os.close(descriptor)
    disk.remount()
    assert path.read_bytes() == b"\0odd" + bytes(4092) + b"d" * 8192


@semantics("S3.9")
def test_room_cannot_be_reserved_but_the_library_falls_back(work: Path, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"head")
    punch = linux.FALLOC_FL_KEEP_SIZE | linux.FALLOC_FL_PUNCH_HOLE
    for mode in (0, linux.FALLOC_FL_KEEP_SIZE, punch):
        with fails_with(errno.EOPNOTSUPP):
            linux.fallocate(descriptor, mode, 0, 10_000)
    os.posix_fallocate(descriptor, 0, 10_000)
    assert os.pread(descriptor, 20_000, 0) == b"head" + bytes(9_996)


@semantics("S3.10")
def test_a_file_is_all_data_with_one_hole_at_its_end(work: Path, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    os.pwrite(descriptor, b"data", 100_000)
    assert os.lseek(descriptor, 0, os.SEEK_DATA) == 0
    assert os.lseek(descriptor, 50, os.SEEK_DATA) == 50
    assert os.lseek(descriptor, 0, os.SEEK_HOLE) == 100_004
    with fails_with(errno.ENXIO):
        os.lseek(descriptor, 100_004, os.SEEK_DATA)


@semantics("S3.11")
def test_copying_inside_the_kernel(disk: Mount, work: Path, opened: Open) -> None:
    content = os.urandom(300_000)
    (work / "source").write_bytes(content)
    source = opened(work / "source", os.O_RDONLY)
    target = opened(work / "target", os.O_CREAT | os.O_WRONLY)
    sent = opened(work / "sent", os.O_CREAT | os.O_WRONLY)
    copied = 0
    while done := os.copy_file_range(source, target, 1 << 20):
        copied += done
    assert copied == len(content)
    offset = 0
    while done := os.sendfile(sent, source, offset, 1 << 20):
        offset += done
    for descriptor in (source, target, sent):
        os.close(descriptor)
    disk.remount()
    assert (work / "target").read_bytes() == content
    assert (work / "sent").read_bytes() == content


@semantics("S3.12")
def test_the_content_type_follows_the_name(work: Path, stored: Stored) -> None:
    names = {"page.html": "text/html", "data.json": "application/json", "nothing": "application/octet-stream"}
    for name, kind in names.items():
        (work / name).write_bytes(b"x")
        assert stored.content_type(work / name) == kind


@semantics("S3.13")
def test_a_descriptor_allows_what_it_was_opened_for(work: Path, opened: Open) -> None:
    (work / "file").write_bytes(b"content")
    reader = opened(work / "file", os.O_RDONLY)
    writer = opened(work / "file", os.O_WRONLY)
    with fails_with(errno.EBADF):
        os.write(reader, b"x")
    with fails_with(errno.EBADF):
        os.read(writer, 1)


@semantics("S3.1", "S3.3")
def test_another_process_sees_a_truncate_at_once(work: Path, opened: Open) -> None:
    descriptor = opened(work / "file", os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"x" * 10_000)
    show = "print(os.stat(sys.argv[1]).st_size, len(open(sys.argv[1], 'rb').read()))"
    assert python(show, work / "file") == "10000 10000"
    os.ftruncate(descriptor, 77)
    assert python(show, work / "file") == "77 77"


@semantics("S3.12")
def test_the_content_type_changes_with_the_name_at_the_next_commit(mounts: MakeMount) -> None:
    mount = mounts()
    path = mount.workspace / "draft"
    path.write_bytes(b"<p>")
    path.rename(mount.workspace / "page.html")
    (mount.workspace / "page.html").write_bytes(b"<p>done")
    assert Stored(mount).content_type(mount.workspace / "page.html") == "text/html"
