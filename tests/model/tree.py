"""A whole directory tree as comparable values: names, attributes, contents, and which names share an inode."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections import defaultdict
from pathlib import Path

from tests.model.twin import Twin

_CHUNK = 1 << 20


def compare(twin: Twin) -> None:
    """Raises AssertionError with every difference between the two trees."""
    paths = listing(twin.disk.root)
    ours = listing(twin.ours.root)
    differences = [f"only on the mount: {path!r}" for path in sorted(set(ours) - set(paths))]
    differences += [f"missing on the mount: {path!r}" for path in sorted(set(paths) - set(ours))]
    for path in ["", *sorted(set(paths) & set(ours))]:
        differences += compare_entry(twin, path)
    ours_groups, disk_groups = same_inode(twin.ours.root, ours), same_inode(twin.disk.root, paths)
    if ours_groups != disk_groups:
        differences.append(f"hard links: the mount has {ours_groups}, the disk {disk_groups}")
    assert not differences, "\n".join(differences)


def compare_entry(twin: Twin, path: str) -> list[str]:
    """Attributes, extended attributes and content of one name."""
    ours, disk = os.lstat(twin.ours.at(path)), os.lstat(twin.disk.at(path))
    differences = compare_stat(twin, path, ours, disk)
    if stat.S_IFMT(ours.st_mode) == stat.S_IFMT(disk.st_mode):
        for what in (_xattrs, _content):
            one, other = what(twin.ours.at(path)), what(twin.disk.at(path))
            if one != other:
                differences.append(
                    f"{path!r}: {what.__name__[1:]} on the mount {one!r}, on the disk {other!r}"
                )
    return differences


def compare_stat(twin: Twin, path: str, ours: os.stat_result, disk: os.stat_result) -> list[str]:
    """Everything stat(2) shows that two file systems can agree on.

    Left out: the size and link count of directories, which every file system counts its own way; atime of
    anything but files, as listing and following move it on the disk; mtime of FIFOs, as the kernel tells nobody
    of what goes through one.
    """
    names = ["st_mode", "st_uid", "st_gid", "st_rdev"]
    if not stat.S_ISDIR(disk.st_mode):
        names += ["st_size", "st_nlink"]
    differences = [
        f"{path!r}: {name} is {getattr(ours, name):#o} on the mount, {getattr(disk, name):#o} on the disk"
        for name in names
        if getattr(ours, name) != getattr(disk, name)
    ]
    times = ["st_mtime_ns"] if not stat.S_ISFIFO(disk.st_mode) else []
    times += ["st_atime_ns"] if stat.S_ISREG(disk.st_mode) else []
    return differences + [
        f"{path!r}: {name} is {twin.origin(getattr(ours, name))} on the mount, "
        f"{twin.origin(getattr(disk, name))} on the disk"
        for name in times
        if not twin.same_moment(getattr(ours, name), getattr(disk, name))
    ]


def listing(root: Path) -> list[str]:
    """Every path below, relative."""
    found = []
    for directory, names, files in os.walk(root):
        base = os.path.relpath(directory, root)
        found += [name if base == "." else f"{base}/{name}" for name in names + files]
    return found


def same_inode(root: Path, paths: list[str]) -> list[list[str]]:
    """Groups of paths that are one file."""
    groups: dict[int, list[str]] = defaultdict(list)
    for path in paths:
        groups[os.lstat(root / path).st_ino].append(path)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def separate_links(root: Path) -> None:
    """Makes hard-linked names independent files with the same content and attributes, as a remount does."""
    for group in same_inode(root, listing(root)):
        for path in group[1:]:
            _make_independent(root / path)


def _make_independent(path: Path) -> None:
    before, parent = path.lstat(), path.parent.stat()
    copy = path.with_name("separate-links-temporary")
    if stat.S_ISREG(before.st_mode):
        shutil.copyfile(path, copy)
    elif stat.S_ISLNK(before.st_mode):
        copy.symlink_to(path.readlink())
    else:
        os.mknod(copy, before.st_mode, before.st_rdev)
    os.chown(copy, before.st_uid, before.st_gid, follow_symlinks=False)
    shutil.copystat(path, copy, follow_symlinks=False)
    times = (before.st_atime_ns, before.st_mtime_ns)
    for name in (path, copy):
        os.utime(name, ns=times, follow_symlinks=False)
    copy.replace(path)
    os.utime(path.parent, ns=(parent.st_atime_ns, parent.st_mtime_ns))


def _xattrs(path: str) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {
        name: os.getxattr(path, name, follow_symlinks=False) for name in names if name.startswith("user.")
    }


def _content(path: str) -> str:
    """Digest of a file's bytes, target of a symbolic link; read so that the disk's atime stays."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if not stat.S_ISREG(mode):
        return ""
    digest = hashlib.blake2b()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOATIME)
    try:
        while data := os.read(descriptor, _CHUNK):
            digest.update(data)
    finally:
        os.close(descriptor)
    return digest.hexdigest()
