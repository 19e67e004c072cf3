"""A directory tree with a bit of everything in it, and a picture of one that can be compared."""

from __future__ import annotations

import os
import random
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_START_NS = 1_600_000_000_123_456_789
_SIZES = (0, 1, 511, 4096, 4097, 20_000, 131_072, 300_001)
_MODES = (0o644, 0o600, 0o755, 0o444, 0o4755, 0o660)


@dataclass(frozen=True, slots=True)
class Node:
    """What must survive a copy. Symbolic links have neither mode nor time of their own here."""

    kind: str
    mode: int = 0
    mtime_ns: int = 0
    content: str = ""


def make_tree(root: Path, seed: int, files: int = 60) -> Path:
    """Files of many sizes and modes, nested and empty directories, links that point somewhere and nowhere."""
    chance = random.Random(seed)
    directories = [
        root,
        root / "a",
        root / "a" / "deep er" / "unter-größe",
        root / "b",
        root / "empty" / "dir",
    ]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        path = chance.choice(directories[:-1]) / f"file {number} ü{'.txt' if number % 2 else ''}"
        path.write_bytes(chance.randbytes(_SIZES[number % len(_SIZES)]))
        path.chmod(_MODES[number % len(_MODES)])
    (root / "to-file").symlink_to("a")
    (root / "a" / "to-nowhere").symlink_to("../gone/for good")
    (root / "b" / "up").symlink_to("../a/deep er")
    (root / "b").chmod(0o750)
    (root / "empty" / "dir").chmod(0o1777)
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        if not path.is_symlink():
            os.utime(path, ns=(_START_NS, _START_NS + number * 1_000_000_007))
    os.utime(root, ns=(_START_NS, _START_NS))
    return root


def picture(root: Path, *, seconds: bool = False) -> dict[str, Node]:
    """Every name below the root with what it is. `seconds` cuts times for formats that know no fractions."""
    return {str(path.relative_to(root)): _node(path, seconds) for path in sorted(root.rglob("*"))}


def _node(path: Path, seconds: bool) -> Node:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return Node("link", content=str(path.readlink()))
    mtime = status.st_mtime_ns // 10**9 * 10**9 if seconds else status.st_mtime_ns
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Node("directory", mode, mtime)
    return Node("file", mode, mtime, sha256(path.read_bytes()).hexdigest())
