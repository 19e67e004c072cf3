"""Keys as the mount knows them <-> keys as they lie in the bucket: the store's prefix, and a key encoding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_plus

from vfs.errors import KeyRefused
from vfs.types import Key

MAX_KEY = 1024
"""Bytes of UTF-8, prefix included (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""


@dataclass(frozen=True, slots=True)
class Keys:
    """`prefix` is "" or ends in "/"."""

    prefix: str = ""

    @property
    def longest(self) -> int:
        """Bytes that are left for a key of the mount."""
        return MAX_KEY - len(self.prefix.encode())

    def stored(self, key: str) -> str:
        """The key in the bucket. Raises KeyRefused where the store cannot hold it."""
        if not key or len(key.encode()) > self.longest:
            raise KeyRefused(f"key of {len(key.encode())} bytes: 1 to {self.longest} are possible")
        return self.prefix + key

    def stored_prefix(self, prefix: str) -> str:
        """The prefix in the bucket under which exactly the keys with that prefix lie."""
        return self.prefix + prefix

    def mounted(self, stored: str) -> Key:
        """The key in the mount; the other way round."""
        return Key(stored[len(self.prefix) :])


def decoded(text: str) -> str:
    """A key of a listing that was asked for with encoding-type=url."""
    return unquote_plus(text)


def fits_xml(key: str) -> bool:
    """XML 1.0, in which DeleteObjects sends its keys, can carry all of it."""
    return _NO_XML.search(key) is None


_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
