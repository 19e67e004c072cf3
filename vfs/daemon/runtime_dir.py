"""The directory where each mount's control socket lies, and its name there.

Whoever can put a socket there can answer in a daemon's name, so the directory must be ours and closed to others;
it is opened once and checked by descriptor, and sockets are reached through that descriptor. This also keeps every
path under the 107 bytes that a unix socket's address may have.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vfs.errors import ConfigError

SUFFIX = ".sock"


def runtime_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where a new daemon has its socket: $XDG_RUNTIME_DIR/agentfs, else /run/agentfs or /tmp/agentfs-UID."""
    xdg = (os.environ if environ is None else environ).get("XDG_RUNTIME_DIR", "")
    return Path(xdg) / "agentfs" if os.path.isabs(xdg) and os.path.isdir(xdg) else _last_resort(os.geteuid())


def search_places(owner: int | None = None) -> list[tuple[Path, int]]:
    """Where daemons may have their sockets, and the uid that each place must belong to.

    A daemon that systemd started has another XDG_RUNTIME_DIR than a shell, so all usual places are asked. Root looks
    after the mounts of others as well: `owner` is who mounted.
    """
    uid = os.geteuid()
    places: list[tuple[Path, int]] = []
    for who in (uid, *([owner] if owner is not None and uid == 0 else [])):
        places += [(runtime_dir(), who), (Path(f"/run/user/{who}/agentfs"), who), (_last_resort(who), who)]
    return list(dict.fromkeys(places))


def _last_resort(uid: int) -> Path:
    return Path("/run/agentfs") if uid == 0 else Path(f"/tmp/agentfs-{uid}")


def mount_id(mountpoint: Path) -> str:
    """Sixteen hex digits that name a mountpoint; a path itself may be too long, or hold slashes."""
    return hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]


def socket_name(mountpoint: Path) -> str:
    return mount_id(mountpoint) + SUFFIX


@dataclass(frozen=True, slots=True)
class RuntimeDir:
    """The open directory."""

    path: Path
    descriptor: int

    def address(self, name: str) -> str:
        """Where to bind or connect, while the directory is open."""
        return f"/proc/self/fd/{self.descriptor}/{name}"

    def sockets(self) -> list[str]:
        return sorted(name for name in os.listdir(self.descriptor) if name.endswith(SUFFIX))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; for moments only, all daemons of this user share it."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def inode(self, name: str) -> int | None:
        """Which file has the name now; None if none has."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)


@contextmanager
def opened(path: Path, *, owner: int | None = None, create: bool = False) -> Iterator[RuntimeDir]:
    """The directory, checked. Raises ConfigError when others could have put something there.

    `owner` is the uid it must belong to (this process's own by default). FileNotFoundError when it is missing.
    """
    owner = os.geteuid() if owner is None else owner
    try:
        if create:
            _make(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(
            f"runtime directory {path}: {error.strerror}: set XDG_RUNTIME_DIR to a directory of yours"
        ) from error
    try:
        status = os.fstat(descriptor)
        if status.st_uid != owner or stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigError(
                f"runtime directory {path} must belong to uid {owner} with mode 0700: "
                "remove it, or set XDG_RUNTIME_DIR to a directory of yours"
            )
        yield RuntimeDir(path, descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
