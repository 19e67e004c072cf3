"""Ends a process before every single system call that a change of the store makes, one run for each.

Run as a program: `python -m tests.contract.crash_points DIRECTORY xattr|sidecar`. For every scenario a child is
forked that makes the change and exits hard before its n-th call; then the directory is opened anew, as after a
crash, and must show the state before the change or the state after it: names, contents and metadata together.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vfs.store.base import ObjectMeta
from vfs.store.local.conditions import ANY
from vfs.store.local.disk import Disk
from vfs.types import Key

CALLS = (
    "rename",
    "unlink",
    "rmdir",
    "mkdir",
    "setxattr",
    "removexattr",
    "writev",
    "utime",
    "copy_file_range",
)
_CRASHED = 77

ONE = ObjectMeta({"n": "1", "mtime": "1.5"}, "text/one")
TWO = ObjectMeta({"n": "2", "mtime": "2.5"}, "text/two")

State = Mapping[str, tuple[bytes, ObjectMeta | None]]


@dataclass(frozen=True)
class Scenario:
    """`prepare` builds the state before, `change` is interrupted."""

    prepare: Callable[[Disk], None]
    change: Callable[[Disk], object]


def _put(disk: Disk, key: str, data: bytes, meta: ObjectMeta) -> None:
    disk.objects.put(Key(key), [data], meta, ANY)


def _two_files(disk: Disk) -> None:
    _put(disk, "a/x", b"one", ONE)
    _put(disk, "b/y", b"two two", TWO)


def _trees(disk: Disk) -> None:
    _put(disk, "old/", b"", ONE)
    _put(disk, "old/x", b"x", ONE)
    _put(disk, "old/sub/y", b"y", TWO)
    _put(disk, "empty/", b"", TWO)


def _complete(disk: Disk) -> None:
    upload = disk.uploads.create(Key("a/x"), TWO)
    parts = [disk.uploads.put_part(upload, number, [b"%d" % number * 10]) for number in (1, 2)]
    disk.uploads.complete(upload, parts, None, ANY)


def _patch(disk: Disk) -> None:
    """An edit in the middle: the ends are copied from the object itself."""
    upload = disk.uploads.create(Key("b/y"), ONE)
    parts = [
        disk.uploads.copy_part(upload, 1, Key("b/y"), start=0, length=3, if_match=None),
        disk.uploads.put_part(upload, 2, [b"++"]),
        disk.uploads.copy_part(upload, 3, Key("b/y"), start=4, length=3, if_match=None),
    ]
    disk.uploads.complete(upload, parts, None, ANY)


SCENARIOS: Mapping[str, Scenario] = {
    "put new": Scenario(lambda disk: None, lambda disk: _put(disk, "a/b/x", b"one", ONE)),
    "put over": Scenario(_two_files, lambda disk: _put(disk, "a/x", b"another", TWO)),
    "put over same size": Scenario(_two_files, lambda disk: _put(disk, "a/x", b"ONE", TWO)),
    "put marker": Scenario(_two_files, lambda disk: _put(disk, "a/", b"", TWO)),
    "put marker again": Scenario(_trees, lambda disk: _put(disk, "old/", b"", TWO)),
    "delete": Scenario(_two_files, lambda disk: disk.objects.delete(Key("a/x"))),
    "delete marker": Scenario(_trees, lambda disk: disk.objects.delete(Key("old/"))),
    "delete empty marker": Scenario(_trees, lambda disk: disk.objects.delete(Key("empty/"))),
    "copy": Scenario(_two_files, lambda disk: disk.objects.copy(Key("a/x"), Key("b/y"), None, None)),
    "annotate": Scenario(_two_files, lambda disk: disk.objects.copy(Key("a/x"), Key("a/x"), TWO, None)),
    "complete": Scenario(_two_files, _complete),
    "patch": Scenario(_two_files, _patch),
    "rename": Scenario(_two_files, lambda disk: disk.renames.rename(Key("a/x"), Key("c/d/z"))),
    "rename over": Scenario(_two_files, lambda disk: disk.renames.rename(Key("a/x"), Key("b/y"))),
    "rename tree": Scenario(_trees, lambda disk: disk.renames.rename(Key("old/"), Key("new/"))),
    "rename tree over": Scenario(_trees, lambda disk: disk.renames.rename(Key("old/"), Key("empty/"))),
}


def state(disk: Disk) -> State:
    """All objects as a reader sees them."""
    found: dict[str, tuple[bytes, ObjectMeta | None]] = {}
    for info in disk.listings.page("", "", None, 1000).objects:
        got = disk.objects.get(info.key, 0, None, None)
        assert got.info == info, f"{info} is listed, {got.info} is read"
        found[info.key] = (bytes(got.data), got.info.meta)
    return found


def _opened(root: Path, kind: str) -> Disk:
    return Disk(root, fsync=False, native=True, xattr=kind == "xattr")


def _crash_before(number: int) -> None:
    """Makes this process end before its `number`-th changing call."""
    left = number

    def guarded(call: Callable[..., object]) -> Callable[..., object]:
        def guard(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(_CRASHED)
            return call(*arguments, **options)

        return guard

    for name in CALLS:
        setattr(os, name, guarded(getattr(os, name)))


def _child(root: Path, kind: str, scenario: Scenario, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        disk = _opened(root, kind)
        _crash_before(number)
        scenario.change(disk)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(directory: Path, kind: str, name: str) -> int:
    """Returns how many crash points the scenario has."""
    scenario = SCENARIOS[name]
    pristine = directory / "pristine"
    disk = _opened(pristine, kind)
    scenario.prepare(disk)
    before = state(disk)
    scenario.change(disk)
    after = state(disk)
    disk.close()
    assert before != after, name
    number = 0
    while True:
        number += 1
        root = directory / str(number)
        disk = _opened(root, kind)
        scenario.prepare(disk)
        disk.close()
        code = _child(root, kind, scenario, number)
        disk = _opened(root, kind)
        now = state(disk)
        assert now in ((before, after) if code else (after,)), f"{name}, call {number}: {now}"
        disk.temps.sweep(-1.0)
        scenario.change(disk) if now == before else None
        assert state(disk) == after, f"{name}, again after call {number}"
        disk.close()
        shutil.rmtree(root)
        if code == 0:
            shutil.rmtree(pristine)
            return number - 1
        assert code == _CRASHED, f"{name}, call {number}: exit code {code}"


def main() -> None:
    directory, kind = Path(sys.argv[1]), sys.argv[2]
    for name in SCENARIOS:
        print(f"{run(directory, kind, name)} {name}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
