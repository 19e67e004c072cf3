"""Chapter 16: memory mapping."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from tests.mounting import Mount
from tests.semantics.conftest import Open
from tests.semantics.document import semantics
from tests.semantics.program import Stored, eventually, python

SIZE = 3 << 20


@semantics("S16.1")
def test_reading_through_a_mapping(work: Path, opened: Open) -> None:
    content = os.urandom(SIZE)
    (work / "file").write_bytes(content)
    descriptor = opened(work / "file", os.O_RDWR)
    with (
        mmap.mmap(descriptor, SIZE, mmap.MAP_PRIVATE, mmap.PROT_READ) as private,
        mmap.mmap(descriptor, SIZE, mmap.MAP_SHARED, mmap.PROT_READ) as shared,
    ):
        assert private[:] == content
        assert shared[:] == content
        os.pwrite(descriptor, b"written", 1 << 20)
        assert shared[1 << 20 : (1 << 20) + 7] == b"written"


@semantics("S16.2")
def test_readers_see_what_is_stored_through_a_mapping(work: Path, opened: Open) -> None:
    (work / "file").write_bytes(bytes(SIZE))
    descriptor = opened(work / "file", os.O_RDWR)
    with mmap.mmap(descriptor, SIZE) as mapping:
        mapping[1000:1006] = b"mapped"
        assert os.pread(descriptor, 6, 1000) == b"mapped"
        show = "print(open(sys.argv[1], 'rb').read()[1000:1006])"
        assert python(show, work / "file") == "b'mapped'"
    assert (work / "file").stat().st_size == SIZE


@semantics("S16.3")
def test_a_mapping_is_durable_after_msync(disk: Mount, work: Path, stored: Stored, opened: Open) -> None:
    for name, store in (("msync", None), ("fsync", os.fsync), ("close", os.close)):
        path = work / name
        path.write_bytes(bytes(SIZE))
        descriptor = opened(path, os.O_RDWR)
        mapping = mmap.mmap(descriptor, SIZE)
        mapping[2 << 20 : (2 << 20) + 4] = b"data"
        if store:
            store(descriptor)
        else:
            mapping.flush()
        found = stored.bytes(path)
        assert found is not None
        assert found[2 << 20 : (2 << 20) + 4] == b"data", name
        mapping.close()
    for name in ("msync", "fsync"):
        assert (work / name).read_bytes().count(b"data") == 1


@semantics("S16.4")
def test_a_mapping_that_outlives_its_descriptors(work: Path, stored: Stored) -> None:
    path = work / "file"
    path.write_bytes(bytes(SIZE))
    program = """
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
size = os.stat(sys.argv[1]).st_size
descriptor = os.open(sys.argv[1], os.O_RDWR)
address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, descriptor, 0)
os.close(descriptor)
ctypes.memmove(address + 4096, b"late", 4)
libc.munmap(address, size)
"""
    assert python(program, path) == ""
    eventually(lambda: (stored.bytes(path) or b"")[4096:4100] == b"late", "the pages are stored")
