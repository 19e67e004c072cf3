"""What can go wrong around a mount: a store that is full or refuses, an end with files open, a daemon that died."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mountinfo import detach
from tests.mounting import Mount

MIB = 1 << 20


def _as_root(*argv: str | Path) -> None:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*prefix, *map(str, argv)], check=True, timeout=30, capture_output=True)


@pytest.fixture
def tiny_store(scratch: Path) -> Iterator[Path]:
    """A store with room for 24 MiB: a file system of its own, which can also be made read-only."""
    path = scratch / "tiny"
    path.mkdir()
    _as_root("mount", "-t", "tmpfs", "-o", f"size=24m,mode=0700,uid={os.getuid()}", "tmpfs", path)
    yield path
    if os.geteuid() == 0:
        detach(path)
    else:
        _as_root("umount", "-l", path)


@pytest.fixture(params=["native", "like-s3"])
def tiny(request: pytest.FixtureRequest, tiny_store: Path, mounts: MakeMount) -> Mount:
    mount = mounts(store=tiny_store, native=request.param == "native")
    mount.expect_log(r"(?i)no space|full|ENOSPC|Errno 28|read-only|Errno 30|EROFS|denied|EACCES")
    return mount


def _fill(directory: Path) -> tuple[list[Path], OSError]:
    """Writes files of 1 MiB until one is refused: those that were acknowledged, and the refusal."""
    stored: list[Path] = []
    for number in range(100):
        path = directory / f"file{number}"
        try:
            with path.open("wb", buffering=0) as file:
                file.write(bytes([number]) * MIB)
        except OSError as error:
            return stored, error
        stored.append(path)
    raise AssertionError("100 MiB went into 24")


def _freed(store: Path, blocks: int) -> bool:
    """Waits until the store has its free blocks back: an upload is given up after close has told of it."""
    deadline = time.monotonic() + 10
    while os.statvfs(store).f_bavail < blocks - 256:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_full_store_says_so_and_keeps_what_it_acknowledged(tiny: Mount) -> None:
    stored, refusal = _fill(tiny.workspace)
    assert refusal.errno == errno.ENOSPC
    assert len(stored) >= 16
    for number, path in enumerate(stored):
        assert path.read_bytes() == bytes([number]) * MIB
    with pytest.raises(OSError, match=r"No space"), stored[3].open("r+b") as file:
        file.write(b"y" * (3 * MIB))
    for path in stored[10:]:
        path.unlink()
    (tiny.workspace / "after").write_bytes(b"z" * MIB)
    tiny.remount()
    assert sorted(os.listdir(tiny.workspace)) == sorted([*(path.name for path in stored[:10]), "after"])
    for number, path in enumerate(stored[:10]):
        assert path.read_bytes() == bytes([number]) * MIB
    assert (tiny.workspace / "after").read_bytes() == b"z" * MIB


def test_file_larger_than_the_store_fails_and_gives_the_room_back(tiny: Mount) -> None:
    path = tiny.workspace / "large"
    path.write_bytes(b"small")
    before = os.statvfs(tiny.store_dir).f_bavail
    with pytest.raises(OSError, match=r"No space"):
        path.write_bytes(b"x" * (48 * MIB))
    assert _freed(tiny.store_dir, before), "what was uploaded of the refused file stays in the store"
    assert path.read_bytes() == b"small"
    (tiny.workspace / "next").write_bytes(b"n" * MIB)
    tiny.remount()
    assert path.read_bytes() == b"small"


def test_full_store_reaches_fsync_and_then_every_later_call(tiny: Mount) -> None:
    with (tiny.workspace / "file").open("wb", buffering=0) as kept:
        kept.write(b"kept")
        os.fsync(kept.fileno())
        filler = [tiny.store_dir / f"filler{number}" for number in range(2)]
        with pytest.raises(OSError, match=r"No space"):
            filler[0].write_bytes(b"0" * (24 * MIB))
        kept.write(b"x" * MIB)
        with pytest.raises(OSError, match=r"No space"):
            os.fsync(kept.fileno())
        filler[0].unlink()
        with pytest.raises(OSError, match=r"No space"):
            os.fsync(kept.fileno())
        with pytest.raises(OSError, match=r"No space"):
            kept.write(b"more")
        with pytest.raises(OSError, match=r"No space"):
            kept.close()
    assert (tiny.workspace / "file").read_bytes() == b"kept"
    (tiny.workspace / "file").write_bytes(b"again")
    tiny.remount()
    assert (tiny.workspace / "file").read_bytes() == b"again"


def test_file_that_failed_and_stays_open_does_not_stop_others(tiny_store: Path, mounts: MakeMount) -> None:
    """What it could not store must not hold the RAM that others wait for."""
    mount = mounts(store=tiny_store, ram_limit="16M")
    mount.expect_log(r"(?i)no space")
    (mount.workspace / "ballast").write_bytes(b"b" * (12 * MIB))
    with (mount.workspace / "failed").open("wb", buffering=0) as failed:
        with pytest.raises(OSError, match=r"No space"):
            _write_until_refused(failed)
        (mount.workspace / "ballast").unlink()
        began = time.monotonic()
        for number in range(6):
            (mount.workspace / f"other{number}").write_bytes(bytes([number]) * (3 * MIB // 2))
        assert time.monotonic() - began < 20
        with pytest.raises(OSError, match=r"No space"):
            failed.close()
    mount.remount()
    assert sorted(os.listdir(mount.workspace)) == [f"other{number}" for number in range(6)]


def _write_until_refused(file: FileIO) -> None:
    for _ in range(200):
        file.write(b"x" * MIB)
    os.fsync(file.fileno())


def test_store_made_read_only_refuses_and_comes_back(tiny: Mount) -> None:
    path = tiny.workspace / "file"
    path.write_bytes(b"old")
    (tiny.workspace / "directory").mkdir()
    _as_root("mount", "-o", "remount,ro", tiny.store_dir)
    assert path.read_bytes() == b"old"
    attempts: dict[str, Callable[[], object]] = {
        "write": lambda: path.write_bytes(b"new"),
        "create": lambda: (tiny.workspace / "new").write_bytes(b"new"),
        "mkdir": (tiny.workspace / "newdir").mkdir,
        "unlink": path.unlink,
        "rmdir": (tiny.workspace / "directory").rmdir,
        "rename": lambda: path.rename(tiny.workspace / "renamed"),
        "chmod": lambda: path.chmod(0o600),
        "symlink": lambda: (tiny.workspace / "link").symlink_to("file"),
    }
    for name, attempt in attempts.items():
        with pytest.raises(OSError) as refusal:
            attempt()
        assert refusal.value.errno in (errno.EACCES, errno.EROFS), f"{name}: {refusal.value}"
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tiny.workspace)) == ["directory", "file"]
    _as_root("mount", "-o", "remount,rw", tiny.store_dir)
    path.write_bytes(b"new")
    path.rename(tiny.workspace / "renamed")
    tiny.remount()
    assert sorted(os.listdir(tiny.workspace)) == ["directory", "renamed"]
    assert (tiny.workspace / "renamed").read_bytes() == b"new"


@pytest.mark.parametrize("native", [True, False], ids=["native", "like-s3"])
def test_sigterm_stores_what_is_open_and_dirty(mounts: MakeMount, native: bool) -> None:
    mount = mounts(native=native)
    (mount.workspace / "appended").write_bytes(b"a" * 100)
    contents = {"small": b"s" * 1000, "large": os.urandom(20 * MIB), "appended": b"b" * 50}
    descriptors = []
    for name, content in contents.items():
        descriptors.append(os.open(mount.workspace / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        assert os.write(descriptors[-1], content) == len(content)
    mount.terminate()
    for descriptor in descriptors:
        with pytest.raises(OSError, match=r"connect|abort"):
            os.write(descriptor, b"too late")
        with suppress(OSError):
            os.close(descriptor)
    mount.start()
    contents["appended"] = b"a" * 100 + b"b" * 50
    assert {path.name: path.read_bytes() for path in mount.workspace.iterdir()} == contents


def test_busy_mount_is_not_taken_away(mount: Mount) -> None:
    path = mount.workspace / "file"
    holder = subprocess.Popen(["sleep", "60"], cwd=mount.workspace)
    try:
        with path.open("wb", buffering=0) as file:
            file.write(b"one")
            refused = mount.agentfs("umount", str(mount.root), timeout=40)
            assert refused.returncode != 0
            assert str(holder.pid) in refused.stdout + refused.stderr
            assert mount.mounted
            assert mount.alive
            file.write(b" two")
        assert path.read_bytes() == b"one two"
    finally:
        holder.kill()
        holder.wait()
    mount.unmount()
    mount.start()
    assert path.read_bytes() == b"one two"


def test_dead_mount_is_forced_away_and_mounted_again(mount: Mount) -> None:
    (mount.workspace / "file").write_bytes(b"safe")
    mount.kill9(detached=False)
    with pytest.raises(OSError) as dead:
        (mount.workspace / "file").stat()
    assert dead.value.errno == errno.ENOTCONN
    forced = mount.agentfs("umount", "--force", str(mount.root))
    assert forced.returncode == 0, forced.stderr
    assert not mount.mounted
    mount.start()
    assert (mount.workspace / "file").read_bytes() == b"safe"
