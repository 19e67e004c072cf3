"""Rules for what stat(2) and getxattr(2) show: modes, owners, times, extended attributes."""

from __future__ import annotations

import os

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.model import linux
from tests.model.machine import Program, index, mode, moment, owner, pattern

attribute = st.sampled_from(("user.a", "user.b", "user.mime_type"))
instant = st.one_of(moment, moment, st.sampled_from((linux.UTIME_NOW, linux.UTIME_OMIT)))


class AttributeRules(Program):
    @rule(which=index, bits=mode)
    def chmod(self, which: int, bits: int) -> None:
        path = self.existing(which)
        self.both(f"chmod({path!r}, {bits:#o})", lambda side: os.chmod(side.at(path), bits))
        self.look(path)

    @rule(which=index, uid=owner, gid=owner)
    def chown(self, which: int, uid: int, gid: int) -> None:
        path = self.existing(which)
        self.both(f"lchown({path!r}, {uid}, {gid})", lambda side: os.lchown(side.at(path), uid, gid))
        self.look(path)

    @rule(which=index, atime=instant, mtime=instant)
    def utimens(self, which: int, atime: int, mtime: int) -> None:
        path = self.existing(which)
        what = f"utimensat({path!r}, {atime}, {mtime})"
        self.both(what, lambda side: linux.utimensat(side.at(path), atime, mtime))
        self.look(path)

    @rule(which=index, key=attribute, size=st.integers(0, 80), how=st.sampled_from((0, 0, 1, 2)))
    def setxattr(self, which: int, key: str, size: int, how: int) -> None:
        path, value = self.existing(which), pattern(size, size)
        what = f"setxattr({path!r}, {key}, {size} bytes, {how})"
        self.both(what, lambda side: os.setxattr(side.at(path), key, value, how, follow_symlinks=False))

    @rule(which=index, key=attribute)
    def getxattr(self, which: int, key: str) -> None:
        path = self.existing(which)
        what = f"getxattr({path!r}, {key})"
        self.both(what, lambda side: os.getxattr(side.at(path), key, follow_symlinks=False))

    @rule(which=index)
    def listxattr(self, which: int) -> None:
        path = self.existing(which)
        what = f"listxattr({path!r})"
        self.both(what, lambda side: sorted(os.listxattr(side.at(path), follow_symlinks=False)))

    @rule(which=index, key=attribute)
    def removexattr(self, which: int, key: str) -> None:
        path = self.existing(which)
        what = f"removexattr({path!r}, {key})"
        self.both(what, lambda side: os.removexattr(side.at(path), key, follow_symlinks=False))
