"""Rules for names: create, remove, link, rename, list."""

from __future__ import annotations

import os
import stat

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model import linux
from tests.model.machine import MAX_DEPTH, Program, index, mode, name

target = st.sampled_from(("a", "b", "../a", "c/a", "nowhere", ".", "line\nbreak", "x" * 300))
special = st.sampled_from((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFREG))


class NameRules(Program):
    @rule(where=index, last=name, bits=mode)
    def mkdir(self, where: int, last: str, bits: int) -> None:
        path = self.place(where, last)
        self.both(f"mkdir({path!r}, {bits:#o})", lambda side: os.mkdir(side.at(path), bits))
        self.look(path)

    @rule(which=index)
    def rmdir(self, which: int) -> None:
        path = self.existing(which)
        if path:
            self.both(f"rmdir({path!r})", lambda side: os.rmdir(side.at(path)))

    @rule(which=index)
    def unlink(self, which: int) -> None:
        path = self.existing(which)
        if path:
            self.both(f"unlink({path!r})", lambda side: os.unlink(side.at(path)))

    @rule(which=index, where=index, last=name)
    def rename(self, which: int, where: int, last: str) -> None:
        self._rename(self.existing(which), self.place(where, last), 0)

    @rule(which=index, other=index)
    def rename_over(self, which: int, other: int) -> None:
        self._rename(self.existing(which), self.existing(other), 0)

    @rule(which=index, where=index, last=name)
    def rename_noreplace(self, which: int, where: int, last: str) -> None:
        self._rename(self.existing(which), self.place(where, last), linux.RENAME_NOREPLACE)

    @rule(which=index, other=index)
    def exchange(self, which: int, other: int) -> None:
        self._rename(self.existing(which), self.existing(other), linux.RENAME_EXCHANGE)

    @rule(which=index, where=index, last=name)
    def link(self, which: int, where: int, last: str) -> None:
        source, path = self.existing(which), self.place(where, last)
        what = f"link({source!r}, {path!r})"
        self.both(what, lambda side: os.link(side.at(source), side.at(path), follow_symlinks=False))
        self.look(source)

    @rule(where=index, last=name, aim=target)
    def symlink(self, where: int, last: str, aim: str) -> None:
        path = self.place(where, last)
        self.both(f"symlink({aim!r}, {path!r})", lambda side: os.symlink(aim, side.at(path)))
        self.look(path)

    @rule(which=index)
    def readlink(self, which: int) -> None:
        path = self.existing(which)
        self.both(f"readlink({path!r})", lambda side: os.readlink(side.at(path)))

    @rule(where=index, last=name, kind=special, bits=mode)
    def mknod(self, where: int, last: str, kind: int, bits: int) -> None:
        path = self.place(where, last)
        device = os.makedev(1, 3) if kind == stat.S_IFCHR else 0
        self.both(
            f"mknod({path!r}, {kind | bits:#o})", lambda side: os.mknod(side.at(path), kind | bits, device)
        )
        self.look(path)

    @rule(where=index)
    def listdir(self, where: int) -> None:
        path = self.directory(where)
        self.both(f"listdir({path!r})", lambda side: sorted(os.listdir(side.at(path))))

    @rule(which=index)
    def stat_path(self, which: int) -> None:
        path = self.existing(which)
        self.both(f"stat({path!r})", lambda side: stat.S_IFMT(os.stat(side.at(path)).st_mode))
        self.look(path)

    @rule(where=index, last=name)
    def stat_name(self, where: int, last: str) -> None:
        path = self.place(where, last)
        self.both(f"lstat({path!r})", lambda side: stat.S_IFMT(os.lstat(side.at(path)).st_mode))

    def _rename(self, old: str, new: str, how: int) -> None:
        if not old or not new or self._too_deep(old, new) or self._too_deep(new, old):
            return
        self.both(
            f"rename({old!r}, {new!r}, {how})", lambda side: linux.renameat2(side.at(old), side.at(new), how)
        )
        self.look(new)

    def _too_deep(self, moved: str, place: str) -> bool:
        root = self.twin.disk.at(moved)
        below = max((directory.count("/") for directory, _, _ in os.walk(root)), default=root.count("/"))
        return below - root.count("/") + place.count("/") >= MAX_DEPTH
