"""What a content is made of and stored as: values that contents, commits and uploads hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vfs.store.base import ObjectInfo, ObjectMeta, Part, Upload
from vfs.types import ETag, Key


class Subject(Protocol):
    """What a content belongs to, as far as storing it needs to know: where, and with which attributes."""

    def accept(self, meta: ObjectMeta) -> bool:
        """Whether the file may keep these attributes, which its upload was begun with. If so it has them now."""

    def keys(self) -> tuple[Key, ...]:
        """Every name's key, never empty; all hold the same content. The first is written, the others copied."""

    def meta(self) -> ObjectMeta:
        """Attributes as they are now."""

    def others(self) -> Sequence[tuple[Key, ETag | None]]:
        """Every key but the first, and the version that is known to be stored there."""

    def copied(self, info: ObjectInfo) -> None:
        """That is stored at one of them now."""


@dataclass(frozen=True, slots=True)
class Base:
    """The stored version that a content builds on."""

    key: Key
    etag: ETag
    size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one commit stores. A truncate while it runs does not change it: the object is one whole moment."""

    size: int
    meta: ObjectMeta
    base: Base | None
    base_limit: int
    keys: tuple[Key, ...]
    appends: bool = False
    """All it adds to the base was appended (O_APPEND), so that it would do as well behind another version."""
    expected: ETag | None = None
    """The version that it replaces; None: there is none."""
    replaced: bool = False
    """That is not the base: another writer's version, which has been kept."""


@dataclass(slots=True)
class Stream:
    """A multipart upload that grows while the program writes. Parts are numbered from 1 by offset."""

    upload: Upload
    meta: ObjectMeta
    parts: dict[int, Part]
