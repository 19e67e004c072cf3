"""Where the parts of an upload lie until they become an object, so that they need not be copied for it.

A part is a range of some file in the upload's directory, and a record `00042.json` says which:

- of the file `data`, at the place where the part will be in the object, if parts of equal size come as they do
  from a program that writes a file in order. Then completing the upload is one rename.
- of a file of its own, if it came in another size, or replaces a part.
- of a hard link to the object that it was copied from: objects are replaced, never written to, so the link keeps
  the bytes without a copy. Should someone edit the file in place meanwhile, its version tells.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from vfs.errors import PreconditionFailed, StoreError, UploadNotFound
from vfs.store.base import Body, Part, Upload, UploadId
from vfs.store.local.records import Clock, etag_of
from vfs.store.local.syscalls import copy_range, write_all
from vfs.store.local.temps import Temp, Temps
from vfs.store.local.tree import open_file
from vfs.types import ETag

DATA = "data"

_RECORD = re.compile(r"([0-9]{5})\.json")

_AHEAD = 64
"""Parts by which one may run ahead in `data`: not every file system keeps holes for free."""


@dataclass(frozen=True, slots=True)
class Range:
    """A stored part: bytes [start, start+size) of `file`, which is still the version `version` if that is set."""

    number: int
    etag: ETag
    size: int
    file: str
    start: int
    version: str = ""

    @property
    def part(self) -> Part:
        return Part(self.number, self.etag, self.size)


@dataclass(slots=True)
class _Layout:
    """How the parts of one upload lie in `data`: part n at (n-1) * stride, and no place is given twice."""

    stride: int = 0
    taken: set[int] = field(default_factory=set)

    def place(self, number: int, size: int) -> int | None:
        if not self.stride:
            self.stride = size
        if (
            number in self.taken
            or not 0 < size <= self.stride
            or number > max(self.taken, default=1) + _AHEAD
        ):
            return None
        self.taken.add(number)
        return (number - 1) * self.stride


class Parts:
    """The parts of all uploads. `directory` is that of the upload, open and locked by the caller."""

    def __init__(self, temps: Temps, clock: Clock) -> None:
        self._temps = temps
        self._clock = clock
        self._lock = threading.Lock()
        self._layouts: dict[UploadId, _Layout] = {}

    def begin(self, upload: Upload) -> None:
        """Only the process that began an upload places parts in `data`: the places taken are known in one process."""
        with self._lock:
            self._layouts[upload.id] = _Layout()

    def end(self, upload: Upload) -> None:
        with self._lock:
            self._layouts.pop(upload.id, None)

    def write(self, directory: int, upload: Upload, number: int, body: Body) -> Part:
        size = sum(memoryview(buffer).nbytes for buffer in body)
        with self._placed(upload, number, size) as start:
            if start is not None:
                fd = os.open(DATA, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
                try:
                    os.lseek(fd, start, os.SEEK_SET)
                    write_all(fd, body)
                finally:
                    os.close(fd)
                return self._record(directory, Range(number, self._etag(size), size, DATA, start))
        with self._temps.new() as temp:
            write_all(temp.fd, body)
            return self._own(directory, number, size, temp)

    @contextmanager
    def _placed(self, upload: Upload, number: int, size: int) -> Iterator[int | None]:
        """A place in `data`, given back if nothing comes of it; None if there is none."""
        with self._lock:
            layout = self._layouts.get(upload.id)
            start = layout.place(number, size) if layout else None
        kept = False
        try:
            yield start
            kept = True
        finally:
            if layout and start is not None and not kept:
                with self._lock:
                    layout.taken.discard(number)

    def copy(
        self, directory: int, number: int, source: tuple[int, os.stat_result], start: int, length: int
    ) -> Part:
        fd, status = source
        name = _own_name(number)
        try:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory)
        except OSError:  # replaced by now, someone else's file, or no links here: copy while it is open
            with self._temps.new() as temp:
                if copy_range(fd, start, length, temp.fd) != length or _changed(fd, status):
                    raise PreconditionFailed("the source was edited in place while it was copied") from None
                return self._own(directory, number, length, temp)
        return self._record(
            directory, Range(number, self._etag(length), length, name, start, etag_of(status))
        )

    def _own(self, directory: int, number: int, size: int, temp: Temp) -> Part:
        name = _own_name(number)
        try:
            temp.install(directory, name)
        except FileNotFoundError as error:
            raise UploadNotFound("the upload was aborted meanwhile") from error
        return self._record(directory, Range(number, self._etag(size), size, name, 0))

    def _etag(self, size: int) -> ETag:
        return ETag(f"{self._clock.tick():x}-{size:x}-p")

    def _record(self, directory: int, stored: Range) -> Part:
        """Makes the range the part of its number; a file that an earlier one had goes."""
        name = f"{stored.number:05}.json"
        with self._temps.new() as temp:
            write_all(temp.fd, [json.dumps(asdict(stored)).encode()])
            with suppress(FileNotFoundError):
                earlier = _load(directory, name)
                if earlier.file != DATA:
                    os.unlink(earlier.file, dir_fd=directory)
            temp.install(directory, name)
        return stored.part

    def listed(self, directory: int) -> list[Range]:
        names = sorted(name for name in os.listdir(directory) if _RECORD.fullmatch(name))
        return [_load(directory, name) for name in names]

    def chosen(self, directory: int, parts: Sequence[Part], min_part: int) -> list[Range]:
        """The ranges of these parts. Raises StoreError if they are not all there, ascending, and large enough."""
        numbers = [part.number for part in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise StoreError("an upload is completed with at least one part, in ascending order")
        stored = {found.number: found for found in self.listed(directory)}
        for part in parts:
            found = stored.get(part.number)
            if found is None or found.part != part:
                raise StoreError(f"part {part.number} is not the one that was stored")
            if part.size < min_part and part is not parts[-1]:
                raise StoreError(f"part {part.number} has only {part.size} bytes")
        return [stored[number] for number in numbers]

    @contextmanager
    def assembled(self, directory: int, ranges: Sequence[Range]) -> Iterator[Temp]:
        """One file with all ranges after each other, to be installed: `data` itself if it is that already."""
        if _is_whole(directory, ranges):
            fd = os.open(DATA, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                yield Temp(fd, directory, DATA)
            finally:
                os.close(fd)
            return
        with self._temps.new() as temp:
            for stored in ranges:
                _append(directory, stored, temp)
            yield temp


def _is_whole(directory: int, ranges: Sequence[Range]) -> bool:
    end = 0
    for stored in ranges:
        if (stored.file, stored.start) != (DATA, end):
            return False
        end += stored.size
    return os.stat(DATA, dir_fd=directory).st_size == end


def _append(directory: int, stored: Range, temp: Temp) -> None:
    fd, status = open_file(directory, stored.file)
    try:
        if copy_range(fd, stored.start, stored.size, temp.fd) != stored.size or (
            stored.version and _changed(fd, status, stored.version)
        ):
            raise PreconditionFailed(f"the source of part {stored.number} was edited in place")
    finally:
        os.close(fd)


def _changed(fd: int, status: os.stat_result, version: str = "") -> bool:
    return etag_of(os.fstat(fd)) != (version or etag_of(status))


def _own_name(number: int) -> str:
    return f"{number:05}-{secrets.token_hex(4)}"


def _load(directory: int, name: str) -> Range:
    fd, status = open_file(directory, name)
    try:
        document: dict[str, Any] = json.loads(os.pread(fd, status.st_size, 0))
    finally:
        os.close(fd)
    return Range(**document)
