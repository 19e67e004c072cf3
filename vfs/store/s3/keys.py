"""Keys as the mount knows them <-> keys as they lie in the bucket: the store's prefix, and a key encoding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_plus

from vfs.errors import KeyRefused
from vfs.types import Key

MAX_KEY = 1024
"""Bytes of UTF-8, prefix included (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""

_ESCAPE = "!"
_REFUSED = re.compile(r"[^A-Za-z0-9_/.*'() &$=@;:+,?-]")
"""What Supabase Storage does not take in a key, and `!` itself, which it takes and which escapes the others."""

_ESCAPED = re.compile(r"(?:![0-9a-f]{2})+")
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Keys:
    """`prefix` is "" or ends in "/".

    `restricted` writes every byte of a character that such stores refuse as `!` and two hex digits. Characters
    are encoded one by one, so a prefix of a key is encoded as a prefix; the order of listings is that of the
    encoded keys.
    """

    prefix: str = ""
    restricted: bool = False

    @property
    def longest(self) -> int:
        """Bytes, as `size` counts them, that are left for a key of the mount."""
        return MAX_KEY - len(self.prefix.encode())

    def size(self, key: str) -> int:
        """Bytes that a key of the mount takes in the store."""
        return len(self._encoded(key).encode())

    def stored(self, key: str) -> str:
        """The key in the bucket. Raises KeyRefused where the store cannot hold it."""
        encoded = self._encoded(key)
        size = len(encoded.encode())
        if not key or size > self.longest:
            raise KeyRefused(f"key of {size} bytes: 1 to {self.longest} are possible")
        return self.prefix + encoded

    def stored_prefix(self, prefix: str) -> str:
        """The prefix in the bucket under which exactly the keys with that prefix lie."""
        return self.prefix + self._encoded(prefix)

    def mounted(self, stored: str) -> Key | None:
        """The key in the mount, the inverse of `stored`; None for what that never makes: others put it there."""
        encoded = stored[len(self.prefix) :]
        if not self.restricted:
            return Key(encoded)
        try:
            key = _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace(_ESCAPE, "")).decode(), encoded)
        except UnicodeDecodeError:
            return None
        return Key(key) if self._encoded(key) == encoded else None

    def _encoded(self, key: str) -> str:
        if not self.restricted:
            return key
        return _REFUSED.sub(lambda found: "".join(f"{_ESCAPE}{byte:02x}" for byte in found[0].encode()), key)


def is_restricted(text: str) -> bool:
    """Stores that restrict keys take it as it is."""
    return _REFUSED.search(text.replace(_ESCAPE, "")) is None


def decoded(text: str) -> str:
    """A key of a listing that was asked for with encoding-type=url."""
    return unquote_plus(text)


def fits_xml(key: str) -> bool:
    """XML 1.0, in which DeleteObjects sends its keys, can carry all of it."""
    return _NO_XML.search(key) is None
