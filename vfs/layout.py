"""Path <-> object key for one user, and which user ids and names exist at all.

One file is one object: `/workspace/a/b` of user `u1` is `users/u1/workspace/a/b`; a directory is the same key
with a slash at its end. Bookkeeping lives under `users/u1/.agentfs/`, which no path of the mount can name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from vfs.errors import ConfigError, NameNotText, NameTooLong, NotPermitted
from vfs.types import Key

ROOTS = ("workspace", "memory")
"""The directories that the root of a mount holds: exactly these."""

NAME_MAX = 255
"""Bytes of UTF-8 in one name."""

PLACEHOLDER = ".emptyFolderPlaceholder"
"""What Supabase Storage puts into a directory that would else vanish: not shown, and removed with the directory."""

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")


def check_user(user: str) -> str:
    """The user id itself, or ConfigError. No slash and no `..` passes, so no key leaves the user's prefix."""
    if not _USER.fullmatch(user) or ".." in user:
        raise ConfigError(
            f"user id {user!r} is not allowed: use 1 to 128 of A-Z a-z 0-9 . _ @ + - "
            "(a letter or digit first, no '..')"
        )
    return user


def decode_name(name: bytes) -> str:
    """A directory entry's name as text. Raises NameTooLong over 255 bytes, NameNotText if not UTF-8."""
    if len(name) > NAME_MAX:
        raise NameTooLong(f"name of {len(name)} bytes; the limit is {NAME_MAX}")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NameNotText("object keys are UTF-8; this name is not") from error


@dataclass(frozen=True, slots=True)
class Layout:
    """Keys of one user. Paths are `workspace/a/b`: relative to the mount, no slash at either end."""

    user: str
    max_key: int = 1024
    key_size: Callable[[str], int] = lambda key: len(key.encode())

    @property
    def prefix(self) -> str:
        return f"users/{self.user}/"

    def file_key(self, path: str) -> Key:
        return self._checked(f"{self.prefix}{path}")

    def dir_key(self, path: str) -> Key:
        """The directory's own key, which is also the prefix of all below it."""
        return self._checked(f"{self.prefix}{path}/" if path else self.prefix)

    def private_key(self, *parts: str) -> Key:
        """A key for our own bookkeeping, never shown in the mount."""
        return self._checked(f"{self.prefix}.agentfs/{'/'.join(parts)}")

    def path(self, key: Key) -> str:
        """The inverse of `file_key` and `dir_key`."""
        if not key.startswith(self.prefix):
            raise NotPermitted(f"key {key!r} is not under {self.prefix!r}")
        return key[len(self.prefix) :].rstrip("/")

    def _checked(self, key: str) -> Key:
        size = self.key_size(key)
        if size > self.max_key:
            raise NameTooLong(f"object key of {size} bytes; the store's limit is {self.max_key}")
        return Key(key)
