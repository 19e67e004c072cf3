"""Attr <-> object metadata, in the form s3fs writes, so that each can read the other's files.

Formats read besides our own (all seen in the field):
  s3fs        `mode` decimal with type bits, `mtime` `sec` or `sec.nnnnnnnnn`, `xattr` URL-encoded JSON of base64
              https://github.com/s3fs-fuse/s3fs-fuse/blob/master/src/metaheader.cpp
  rclone -M   `mode` octal (`100644`), `mtime` float seconds
  AWS         `file-permissions` `0100644`, `file-owner`, `file-group`, `file-mtime` and `file-atime` `...ns`
              https://docs.aws.amazon.com/fsx/latest/LustreGuide/posix-metadata-support.html
  geesefs     `--symlink-target`, URL-encoded, beside an empty object

Objects without any of it are ordinary files, or directories, of the mounting user.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, unquote_to_bytes

from vfs.config import Config
from vfs.errors import AttributesTooBig
from vfs.store.base import ObjectInfo, ObjectMeta
from vfs.types import Attr

DIRECTORY_TYPE = "application/x-directory"
NANO = 1_000_000_000
SYMLINK_TARGET = "--symlink-target"

_TYPES = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK}
_mime = mimetypes.MimeTypes()  # the table of the standard library, not of this host: the same type everywhere
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an object without metadata looks like."""

    uid: int
    gid: int
    umask: int

    @classmethod
    def of(cls, config: Config) -> Defaults:
        return cls(config.uid, config.gid, config.umask)

    def attr(self, *, directory: bool, size: int, time_ns: int) -> Attr:
        mode = stat.S_IFDIR | (0o777 & ~self.umask) if directory else stat.S_IFREG | (0o666 & ~self.umask)
        return Attr(mode, self.uid, self.gid, 0 if directory else size, time_ns, time_ns, time_ns)


def decode(info: ObjectInfo, defaults: Defaults) -> Attr:
    """The attributes of a stored object. What cannot be parsed counts as missing; never raises."""
    directory = info.key.endswith("/")
    plain = defaults.attr(directory=directory, size=info.size, time_ns=info.modified_ns)
    if info.meta is None or not info.meta.metadata:
        return plain
    meta = info.meta.metadata
    mtime = _time(meta.get("mtime", meta.get("file-mtime")), info.modified_ns)
    attr = Attr(
        mode=_mode(meta, plain.mode, directory),
        uid=_integer(meta.get("uid", meta.get("file-owner")), plain.uid),
        gid=_integer(meta.get("gid", meta.get("file-group")), plain.gid),
        size=plain.size if directory else len(link_text(info.meta) or b"") or plain.size,
        mtime_ns=mtime,
        ctime_ns=_time(meta.get("ctime"), mtime),
        atime_ns=_time(meta.get("atime", meta.get("file-atime")), mtime),
        rdev=_integer(meta.get("rdev"), 0),
    )
    return replace(attr, xattrs=_xattrs(meta["xattr"])) if meta.get("xattr") else attr


def encode(attr: Attr, name: str, limit: int) -> ObjectMeta:
    """What is stored beside the bytes. Raises AttributesTooBig over `limit` bytes (names and values)."""
    meta = {
        "mode": str(attr.mode),
        "uid": str(attr.uid),
        "gid": str(attr.gid),
        "mtime": _stamp(attr.mtime_ns),
    }
    if attr.ctime_ns != attr.mtime_ns:
        meta["ctime"] = _stamp(attr.ctime_ns)
    if attr.atime_ns != attr.mtime_ns:
        meta["atime"] = _stamp(attr.atime_ns)
    if attr.rdev:
        meta["rdev"] = str(attr.rdev)
    if attr.xattrs:
        values = {key: base64.b64encode(value).decode() for key, value in attr.xattrs.items()}
        meta["xattr"] = quote(json.dumps(values, separators=(",", ":"), sort_keys=True))
    size = sum(len(key) + len(value) for key, value in meta.items())
    if size > limit:
        raise AttributesTooBig(f"{size} bytes of attributes; {limit} fit beside an object")
    return ObjectMeta(meta, content_type(attr, name))


def content_type(attr: Attr, name: str) -> str:
    """From the name, so that a browser or a model can open the object's URL."""
    if attr.is_dir:
        return DIRECTORY_TYPE
    kind, encoding = _mime.guess_type("/" + name)  # with a slash, "data:..." is a name and not a URL
    if encoding:  # `a.txt.gz` is not text: nothing unpacks it on its way
        return _PACKED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"


def link_text(meta: ObjectMeta | None) -> bytes | None:
    """The text of a symbolic link that is stored beside the bytes; None where it is the bytes."""
    text = meta.metadata.get(SYMLINK_TARGET) if meta is not None else None
    return unquote_to_bytes(text) if text else None


def now_ns() -> int:
    return time.time_ns()


def _mode(meta: Mapping[str, str], plain: int, directory: bool) -> int:
    if SYMLINK_TARGET in meta and not directory:
        return stat.S_IFLNK | 0o777
    text = meta.get("mode", meta.get("file-permissions", ""))
    if not text.isascii():
        return plain  # int() would read digits of any script
    for base in (8,) if text.startswith("0") else (10, 8):
        try:
            mode = int(text, base)
        except ValueError:
            continue
        if not 0 <= mode < 1 << 16:
            continue
        kind = stat.S_IFMT(mode)
        if kind in _TYPES and (kind == stat.S_IFDIR) == directory:
            return mode
        if base == 10 and kind == 0 and directory:
            return stat.S_IFDIR | mode  # what s3fs writes at mkdir; of a file it always tells the type
        if base == 8 and (kind in _TYPES or kind == 0):  # in decimal it may be octal: 42755 is both
            return stat.S_IFMT(plain) | stat.S_IMODE(mode)
    return plain


def _integer(text: str | None, default: int) -> int:
    try:
        value = int(text) if text else default
    except ValueError:
        return default
    return value if 0 <= value < 1 << 32 else default


def _time(text: str | None, default: int) -> int:
    """Nanoseconds. Digits are cut up by hand: a float would lose some."""
    text = text or ""
    whole, _, fraction = text.partition(".")
    try:
        if text.endswith("ns"):
            time_ns = int(text[:-2])
        else:
            time_ns = int(whole) * NANO + (int(fraction[:9].ljust(9, "0")) if fraction else 0)
    except ValueError:
        return default
    return time_ns if abs(time_ns) < NANO << 40 else default


def _stamp(time_ns: int) -> str:
    seconds, nanos = divmod(time_ns, NANO)
    return f"{seconds}.{nanos:09d}" if nanos else str(seconds)


def _xattrs(text: str) -> dict[str, bytes]:
    try:
        values = json.loads(unquote(text))
        return {str(key): base64.b64decode(value) for key, value in values.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
