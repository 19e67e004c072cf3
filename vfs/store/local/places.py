"""Where a key lies below the store's directory, and which keys have no place at all."""

from __future__ import annotations

from dataclasses import dataclass

from vfs.errors import KeyRefused
from vfs.types import Key

PRIVATE = ".agentfs-store"
"""First path component of the store's own files. No key can name it."""

COMPONENT_MAX = 255
"""Bytes of one path component (NAME_MAX of every Linux file system in use)."""

KEY_MAX = 1024
"""Bytes of UTF-8 in one key, as in S3."""


@dataclass(frozen=True, slots=True)
class Place:
    """A key as a path: the directories above it, its own name, and whether it is a directory (`dir/`)."""

    key: Key
    parents: tuple[str, ...]
    name: str
    is_dir: bool

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.parents, self.name)


def locate(key: Key) -> Place:
    """The place of a key. Raises KeyRefused for keys that no path can stand for."""
    if len(encoded(key)) > KEY_MAX:
        raise KeyRefused(f"key of {len(encoded(key))} bytes; the limit is {KEY_MAX}")
    parts = tuple(key.removesuffix("/").split("/"))
    if not all(is_component(part) for part in parts):
        raise KeyRefused(f"no file can be named by the key {key!r}")
    if parts[0] == PRIVATE:
        raise KeyRefused(f"{PRIVATE!r} belongs to the store itself")
    return Place(key, parts[:-1], parts[-1], key.endswith("/"))


def encoded(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise KeyRefused(f"key {key!r} is not valid UTF-8") from error


def is_component(name: str) -> bool:
    return name not in ("", ".", "..") and "\0" not in name and len(name.encode()) <= COMPONENT_MAX


def is_text(name: str) -> bool:
    """False for names that scandir(3) could only give with surrogates: they are no UTF-8, hence no key."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
