"""chmod, chown, utimens, truncate, extended attributes, statfs."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vfs.core.filesystem.files import resize, revert, without_privileges
from vfs.core.filesystem.lookup import on_current, refresh
from vfs.core.inodes import ROOT, Inode
from vfs.core.volume import Volume
from vfs.errors import (
    AttributesTooBig,
    IsDirectory,
    NoAttribute,
    NotPermitted,
    NotSupported,
)
from vfs.meta.attrs import encode, now_ns
from vfs.store.base import Usage
from vfs.types import Attr, Caller, Fh, Ino

ENDLESS = 1 << 50
"""Bytes that statfs reports where the store does not know its room: 1 PiB."""

USER_NAMESPACE = "user."


@dataclass(frozen=True, slots=True)
class Changes:
    """What setattr is to change; None stays. Times are nanoseconds."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


async def setattr_(volume: Volume, ino: Ino, changes: Changes, fh: Fh | None, caller: Caller) -> Inode:
    """Changes attributes; durable on return, but for a file that is being written: then with its commit."""
    inode = volume.table.get(ino)
    if inode.ino == ROOT:
        raise NotPermitted("the root of a mount has no attributes of its own")

    async def change() -> None:
        before = inode.attr
        if changes.size is not None:
            if inode.attr.is_dir:
                raise IsDirectory(f"inode {ino}")
            await resize(volume, inode, volume.content(inode), changes.size, caller.uid)
        inode.attr = _applied(inode.attr, changes)
        inode.times_set |= changes.mtime_ns is not None or changes.atime_ns is not None
        await _settle(volume, inode, before, resized=changes.size is not None and fh is None)

    await on_current(volume, inode, change)
    return inode


def _applied(attr: Attr, changes: Changes) -> Attr:
    mode = attr.mode
    if (changes.uid is not None or changes.gid is not None) and attr.is_file:
        mode = without_privileges(attr)
    if changes.mode is not None:
        mode = stat.S_IFMT(attr.mode) | stat.S_IMODE(changes.mode)
    return replace(
        attr,
        mode=mode,
        uid=attr.uid if changes.uid is None else changes.uid,
        gid=attr.gid if changes.gid is None else changes.gid,
        atime_ns=attr.atime_ns if changes.atime_ns is None else changes.atime_ns,
        mtime_ns=attr.mtime_ns if changes.mtime_ns is None else changes.mtime_ns,
        ctime_ns=now_ns(),
    )


async def _settle(volume: Volume, inode: Inode, before: Attr, *, resized: bool) -> None:
    """Stores what changed now, or leaves it to the commit of a program that is writing the file."""
    if not inode.names:
        return
    content = inode.content
    dirty, after = content is not None and content.dirty, inode.attr
    attrs_dirty, late = inode.attrs_dirty, inode.late
    inode.attrs_dirty = True
    volume.late.discard(inode)
    if dirty and inode.writers and not resized:
        return
    if dirty and inode.writers and content is not None and content.live.nbytes:
        return
    try:
        await volume.durable(inode, None if attrs_dirty else before)
    except BaseException:
        if content is not None and content.error is not None and not inode.handles:
            revert(volume, inode, content)
        elif not dirty:
            inode.attr, inode.attrs_dirty = _undone(inode.attr, before, after), attrs_dirty
            if inode.attr.is_dir:
                volume.late.put_back(inode, inode.attr, late)
        raise


def _undone(now: Attr, before: Attr, after: Attr) -> Attr:
    """Without the change from `before` to `after`; what was written meanwhile stays."""
    changed = {
        field: getattr(before, field)
        for field in Attr.__slots__
        if getattr(now, field) == getattr(after, field)
    }
    return replace(now, **changed)


# -- extended attributes -------------------------------------------------------------------------------------


async def getxattr(volume: Volume, ino: Ino, name: bytes) -> bytes:
    """Raises NoAttribute; NotSupported outside `user.`, which is all an object can carry."""
    key = _user_name(name)  # first: the kernel asks for security.capability before every write
    values = (await _xattrs(volume, ino)).attr.xattrs
    try:
        return values[key]
    except KeyError:
        raise NoAttribute(key) from None


async def listxattr(volume: Volume, ino: Ino) -> list[bytes]:
    return [name.encode() for name in (await _xattrs(volume, ino)).attr.xattrs]


async def setxattr(volume: Volume, ino: Ino, name: bytes, value: bytes) -> None:
    """All of a file's attributes share what fits beside an object. Raises AttributesTooBig."""
    key = _user_name(name)
    await _change_xattrs(volume, ino, lambda old: {**old, key: value})


async def removexattr(volume: Volume, ino: Ino, name: bytes) -> None:
    key = _user_name(name)

    def without(old: Mapping[str, bytes]) -> dict[str, bytes]:
        if key not in old:
            raise NoAttribute(key)
        return {other: value for other, value in old.items() if other != key}

    await _change_xattrs(volume, ino, without)


async def _xattrs(volume: Volume, ino: Ino) -> Inode:
    inode = volume.table.get(ino)
    await refresh(volume, inode)
    return inode


async def _change_xattrs(
    volume: Volume, ino: Ino, change: Callable[[Mapping[str, bytes]], dict[str, bytes]]
) -> None:
    inode = volume.table.get(ino)
    if inode.ino == ROOT:
        raise NotPermitted("the root of a mount has no attributes of its own")

    async def store() -> None:
        before = inode.attr
        after = replace(before, xattrs=change(before.xattrs), ctime_ns=now_ns())
        encode(after, "", volume.store.capabilities.max_metadata)
        inode.attr = after
        await _settle(volume, inode, before, resized=False)

    await on_current(volume, inode, store)


def _user_name(name: bytes) -> str:
    """The name as text. EOPNOTSUPP for all but `user.` also spares requests: `ls -l` then stops asking for ACLs."""
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise AttributesTooBig("names of attributes are UTF-8") from error
    if not text.startswith(USER_NAMESPACE):
        raise NotSupported(f"{text}: objects carry attributes in 'user.' only")
    return text


async def usage(volume: Volume) -> Usage:
    """Room in bytes, for statfs."""
    return await volume.store.usage() or Usage(ENDLESS, ENDLESS)
