"""Rules for what is inside files: open, read, write, truncate, fsync, close."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.model import tree
from tests.model.machine import MAX_HANDLES, Program, amount, any_open, index, mode, name, pattern

_ACCESS = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR)
_EXTRAS = (os.O_APPEND, os.O_TRUNC, os.O_CREAT, os.O_CREAT, os.O_EXCL, os.O_NOFOLLOW, os.O_DIRECTORY)

flags = st.builds(
    lambda access, extras: access | sum(set(extras)),
    st.sampled_from(_ACCESS),
    st.lists(st.sampled_from(_EXTRAS), max_size=3),
)


call = st.tuples(
    st.sampled_from(
        ("write", "pwrite", "pwrite", "read", "pread", "pread", "ftruncate", "fsync", "fdatasync")
    ),
    amount,
    amount,
)
"""Kind of call on an open file, its size, its offset."""


class ContentRules(Program):
    @initialize(size=amount)
    def begin_with_an_open_file(self, size: int) -> None:
        self.write_file(0, "a", 0o644, size)
        self._open("a", os.O_RDWR, 0)

    @rule(where=index, last=name, fresh=st.booleans(), calls=st.lists(call, min_size=1, max_size=8))
    def edit(self, where: int, last: str, fresh: bool, calls: list[tuple[str, int, int]]) -> None:
        """A run of calls on one file, as an editor or a database makes them; the file stays open."""
        handle = self._open(self.place(where, last), os.O_RDWR | os.O_CREAT | os.O_TRUNC * fresh, 0o644)
        if handle is not None:
            for kind, size, offset in calls:
                self._call(handle, kind, size, offset)

    @precondition(any_open)
    @rule(which=index, calls=st.lists(call, min_size=1, max_size=8))
    def go_on(self, which: int, calls: list[tuple[str, int, int]]) -> None:
        handle = self.handle(which)
        for kind, size, offset in calls:
            self._call(handle, kind, size, offset)

    @rule(where=index, last=name, bits=mode, size=amount)
    def write_file(self, where: int, last: str, bits: int, size: int) -> None:
        """What most programs do: create or replace, write, close."""
        path = self.place(where, last)
        handle = self._open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, bits)
        if handle is not None:
            self._call(handle, "write", size, 0)
            self.close_handle(handle)
        self.look(path)

    @rule(where=index, last=name, how=flags, bits=mode)
    def open_name(self, where: int, last: str, how: int, bits: int) -> None:
        self._open(self.place(where, last), how, bits)

    @rule(which=index, how=flags)
    def open_existing(self, which: int, how: int) -> None:
        self._open(self.existing(which), how, 0o640)

    @precondition(any_open)
    @rule(which=index, offset=amount, whence=st.sampled_from((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)))
    def seek(self, which: int, offset: int, whence: int) -> None:
        handle = self.handle(which)
        if stat.S_ISDIR(self._fstat(handle).st_mode):
            return  # a directory's offsets are each file system's own
        start = offset % 1000
        what = f"lseek({handle}, {start}, {whence})"
        self.both(what, lambda side: os.lseek(side.descriptors[handle], start, whence))

    @rule(which=index, size=amount)
    def truncate(self, which: int, size: int) -> None:
        path, length = self.existing(which), size % self.sizes.offset
        target = self.twin.disk.at(path)
        # Whether truncate(2) to the same size moves mtime is each file system's own (ext4: no).
        if not os.path.isfile(target) or os.stat(target).st_size != length:
            self.both(f"truncate({path!r}, {length})", lambda side: os.truncate(side.at(path), length))
            self.look(path)

    @precondition(any_open)
    @rule(which=index, bits=mode)
    def fchmod(self, which: int, bits: int) -> None:
        handle = self.handle(which)
        what = f"fchmod({handle}, {bits:#o})"
        self.both(what, lambda side: os.fchmod(side.descriptors[handle], bits))
        self._look_at(handle)

    @precondition(lambda self: len(self.flags) > 2)
    @rule(which=index)
    def close(self, which: int) -> None:
        self.close_handle(self.handle(which))

    def _open(self, path: str, how: int, bits: int) -> int | None:
        if len(self.flags) >= MAX_HANDLES:
            self.close_handle(min(self.flags))
        if self._is_device(path):
            return None  # the mount is nodev
        number = next(self.numbers)
        # A FIFO without a partner would block; and the disk is to keep atime as the mount does.
        every = how | os.O_NONBLOCK | os.O_NOATIME
        outcome = self.both(
            f"{number} = open({path!r}, {how:#o}, {bits:#o})",
            lambda side: side.open(number, path, every, bits),
        )
        if outcome.errno:
            return None
        self.flags[number] = how
        return number

    def _call(self, handle: int, kind: str, size: int, offset: int) -> None:
        length, start = size % self.sizes.write, offset % self.sizes.offset
        data = pattern(size, length)
        calls: dict[str, tuple[str, Callable[[int], object]]] = {
            "write": (f"{length} bytes", lambda descriptor: os.write(descriptor, data)),
            "pwrite": (f"{length} bytes, {start}", lambda descriptor: os.pwrite(descriptor, data, start)),
            "read": (f"{length}", lambda descriptor: os.read(descriptor, length)),
            "pread": (f"{length}, {start}", lambda descriptor: os.pread(descriptor, length, start)),
            "ftruncate": (f"{start}", lambda descriptor: os.ftruncate(descriptor, start)),
            "fsync": ("", os.fsync),
            "fdatasync": ("", os.fdatasync),
        }
        words, run = calls[kind]
        self.both(f"{kind}({handle}, {words})", lambda side: run(side.descriptors[handle]))
        self._look_at(handle)

    def _is_device(self, path: str) -> bool:
        try:
            return stat.S_ISCHR(os.stat(self.twin.disk.at(path)).st_mode)
        except OSError:
            return False

    def _fstat(self, handle: int) -> os.stat_result:
        return os.fstat(self.twin.disk.descriptors[handle])

    def _look_at(self, handle: int) -> None:
        ours = os.fstat(self.twin.ours.descriptors[handle])
        differences = tree.compare_stat(self.twin, f"handle {handle}", ours, self._fstat(handle))
        assert not differences, "\n".join(differences)
