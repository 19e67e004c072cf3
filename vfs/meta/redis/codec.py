"""Records and changes as Redis holds them: bytes that say whether they are whole.

A record is `format, CRC-32 of the rest, flags, at, attributes, length of the etag`, little endian, then the etag and
the extended attributes as JSON of base64. What cannot be read back is not known: no decoder here raises.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Mapping
from zlib import crc32

from vfs.meta.entry import Entry
from vfs.meta.shared import Change, Kind, Record
from vfs.types import Attr, ETag

FORMAT = 1
UNKNOWN = b""
"""Stands where nothing is known: it decodes to None."""

_HEAD = struct.Struct("<BI")
_REST = struct.Struct("<BdIIIQqqqQqH")
"""flags, at, mode, uid, gid, size, mtime, ctime, atime, rdev, modified (all times ns but `at`), etag bytes"""

_PRESENT, _MARKER, _XATTRS = 1, 2, 4
ETAG_AT = _HEAD.size + _REST.size
"""Offset of the etag in a record; its length is in the two bytes before, little endian."""


def encode(record: Record) -> bytes:
    """UNKNOWN for what the format cannot hold, e.g. a time beyond the year 2262 in ns."""
    entry = record.entry
    if entry is None:
        rest = _REST.pack(0, record.at, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        return _HEAD.pack(FORMAT, crc32(rest)) + rest
    attr = entry.attr
    flags = _PRESENT | (_MARKER if entry.marker else 0) | (_XATTRS if attr.xattrs else 0)
    times = (attr.mtime_ns, attr.ctime_ns, attr.atime_ns)
    try:
        etag = entry.etag.encode()
        owner = (attr.mode, attr.uid, attr.gid, attr.size)
        rest = _REST.pack(flags, record.at, *owner, *times, attr.rdev, entry.modified_ns, len(etag)) + etag
    except (struct.error, UnicodeError):
        return UNKNOWN
    if attr.xattrs:
        texts = {name: base64.b64encode(value).decode() for name, value in attr.xattrs.items()}
        rest += json.dumps(texts).encode()
    return _HEAD.pack(FORMAT, crc32(rest)) + rest


def decode(data: bytes | None) -> Record | None:
    """None: not known, or not a record."""
    if data is None or len(data) < ETAG_AT:
        return None
    form, check = _HEAD.unpack_from(data)
    if form != FORMAT or crc32(memoryview(data)[_HEAD.size :]) != check:
        return None
    fields = _REST.unpack_from(data, _HEAD.size)
    flags, at, mode, uid, gid, size, mtime, ctime, atime, rdev, modified, length = fields
    if not flags & _PRESENT:
        return Record(None, at)
    try:
        etag = ETag(data[ETAG_AT : ETAG_AT + length].decode())
        if flags & _XATTRS:
            xattrs = _xattrs(data[ETAG_AT + length :])
            attr = Attr(mode, uid, gid, size, mtime, ctime, atime, rdev, xattrs)
        else:
            attr = Attr(mode, uid, gid, size, mtime, ctime, atime, rdev)
    except (ValueError, TypeError, AttributeError):  # binascii's and json's are ValueErrors
        return None
    return Record(Entry(attr, etag, bool(flags & _MARKER), modified), at)


def _xattrs(data: bytes) -> Mapping[str, bytes]:
    return {name: base64.b64decode(value) for name, value in json.loads(data).items()}


def tell(changes: Iterable[Change], at: float) -> list[bytes]:
    """Fields and values of an entry of the stream: `number kind path`, and what a PUT has put.

    The number makes each field another: client libraries take them for a mapping.
    """
    fields: list[bytes] = []
    for number, change in enumerate(changes):
        data = encode(Record(change.entry, at)) if change.entry is not None else UNKNOWN
        fields += (f"{number} {change.kind} {change.path}".encode(), data)
    return fields


def heard(fields: Mapping[bytes, bytes], origin: str = "") -> list[Change]:
    """The inverse of `tell`. What cannot be read is told as something that drops more than it would have."""
    changes: list[Change] = []
    try:
        for field, value in fields.items():
            _, word, path = field.decode().split(" ", 2)
            kind = Kind(word)
            record = decode(value) if kind is Kind.PUT else None
            if kind is Kind.PUT and (record is None or record.entry is None):
                kind = Kind.TREE
            changes.append(Change(kind, path, record.entry if record else None, origin=origin))
    except ValueError:
        return [Change(Kind.ALL)]
    return changes


def seal(data: bytes) -> bytes:
    """Content with its checksum."""
    return crc32(data).to_bytes(4, "little") + data


def unseal(data: bytes | None) -> bytes | None:
    """The content, or None if that is not what was sealed."""
    if data is None or len(data) < 4 or crc32(memoryview(data)[4:]).to_bytes(4, "little") != data[:4]:
        return None
    return data[4:]
