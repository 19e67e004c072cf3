"""Preconditions of a change: what must hold of the version that it replaces."""

from __future__ import annotations

from dataclasses import dataclass

from vfs.errors import PreconditionFailed
from vfs.types import ETag, Key


@dataclass(frozen=True, slots=True)
class Condition:
    """`if_match`: it is this version. `if_absent`: there is none."""

    if_match: ETag | None = None
    if_absent: bool = False

    def check(self, key: Key, current: ETag | None) -> None:
        if self.if_absent and current is not None:
            raise PreconditionFailed(f"{key!r} exists")
        if self.if_match is not None and current != self.if_match:
            raise PreconditionFailed(f"{key!r} is {current or 'absent'}, not {self.if_match}")


ANY = Condition()
