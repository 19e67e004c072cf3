"""May this directory become a mount? Every no is one line that says what to do about it.

The kernel's table of mounts is asked first, because it answers even when a mount does not; the directory itself
is only looked at with a deadline (`vfs.daemon.glance`).
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vfs.daemon.glance import Glance, glance
from vfs.daemon.mount_table import MountEntry, mounted_at
from vfs.errors import ConfigError

CAP_SYS_ADMIN = 21
"""Bit in CapEff of /proc/self/status (capabilities(7))."""

FUSE_CONF = Path("/etc/fuse.conf")


@dataclass(frozen=True, slots=True)
class Host:
    """What a mount needs of the machine. Tests hand in others."""

    device: Path = Path("/dev/fuse")
    fuse_conf: Path = FUSE_CONF
    status: Path = Path("/proc/self/status")
    euid: int = -1
    fusermount: str | None = None

    @classmethod
    def here(cls) -> Host:
        return cls(euid=os.geteuid(), fusermount=shutil.which("fusermount3"))


def absolute(text: str) -> Path:
    """The path as the kernel's table writes it, if its last component is not a symlink. Touches only parents."""
    if not text or "\0" in text:
        raise ConfigError(f"mountpoint {text!r} is not a path")
    plain = os.path.normpath(os.path.join(os.getcwd(), os.path.expanduser(text)))
    parent, name = os.path.split(plain)
    if mounted_at(Path(plain)):
        return Path(plain)
    seen = glance(Path(parent))
    if seen.stuck:
        raise ConfigError(f"{parent} does not answer: a mount there is stuck")
    return seen.real / name if name else Path(plain)


def locate(text: str) -> Path:
    """The mountpoint that is meant: symlinks followed, without touching a mount."""
    path = absolute(text)
    if mounted_at(path):
        return path
    seen = glance(path)
    return seen.real if seen.answers or seen.dead else path


def check_mountpoint(path: Path, *, describe: Callable[[MountEntry], str], host: Host | None = None) -> None:
    """Raises ConfigError when nothing can or should be mounted there. `describe` names who serves a mount of ours."""
    host = host or Host.here()
    entry = mounted_at(path)
    if entry is not None:
        raise ConfigError(_taken(path, entry, describe))
    seen = glance(path)
    if reason := _unfit(path, seen, host):
        raise ConfigError(reason)


def check_host(*, allow_other: bool, host: Host | None = None) -> None:
    """Raises ConfigError when this machine, or this user, cannot mount at all."""
    host = host or Host.here()
    for reason in (no_device(host), no_privilege(host), no_fusermount(host)):
        if reason:
            raise ConfigError(reason)
    if allow_other and (reason := no_allow_other(host)):
        raise ConfigError(reason)


def no_device(host: Host) -> str:
    """Why /dev/fuse cannot be used; empty when it can."""
    try:
        mode = host.device.stat().st_mode
    except OSError:
        return (
            f"there is no {host.device}: run `modprobe fuse` as root, or start the container "
            "with `--device /dev/fuse --cap-add SYS_ADMIN`"
        )
    if not stat.S_ISCHR(mode):
        return f"{host.device} is not a device: remove it and run `mknod {host.device} c 10 229` as root"
    try:
        os.close(os.open(host.device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        fix = "start the container with `--device /dev/fuse --cap-add SYS_ADMIN`"
        if host.euid != 0 and error.errno == errno.EACCES:
            fix = f"run `chmod 666 {host.device}` as root"
        return f"{host.device} cannot be opened ({error.strerror}): {fix}"
    return ""


def no_privilege(host: Host) -> str:
    """Why root may not mount; empty when it may, or when this is not root."""
    if host.euid != 0:
        return ""
    line = next(line for line in host.status.read_text().splitlines() if line.startswith("CapEff:"))
    if int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1:
        return ""
    return "no permission to mount (CAP_SYS_ADMIN is missing): start the container with `--cap-add SYS_ADMIN`"


def no_fusermount(host: Host) -> str:
    """Why an ordinary user cannot mount; empty when one can, or when this is root."""
    if host.euid == 0:
        return ""
    if not _has_name(host.euid):
        return (
            f"uid {host.euid} has no name, and fusermount3 mounts for nobody without: "
            "add it to /etc/passwd, or mount as root"
        )
    if host.fusermount is None:
        return "there is no fusermount3: run `apt-get install fuse3` as root"
    status = os.stat(host.fusermount)
    if not (status.st_mode & stat.S_ISUID and status.st_uid == 0):
        return f"{host.fusermount} is not set-uid root: run `chmod u+s {host.fusermount}` as root"
    return ""


def no_allow_other(host: Host) -> str:
    """Why --allow-other is refused; empty when it is not."""
    if host.euid == 0:
        return ""
    try:
        lines = [line.strip() for line in host.fuse_conf.read_text().splitlines()]
    except OSError:
        lines = []
    if "user_allow_other" in lines:
        return ""
    return f"--allow-other is refused to ordinary users: as root, add the line user_allow_other to {host.fuse_conf}"


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


def _taken(path: Path, entry: MountEntry, describe: Callable[[MountEntry], str]) -> str:
    if not entry.is_agentfs:
        return f"{path} is already a mount ({entry.fstype}): choose another directory, or `umount {path}`"
    seen = glance(path)
    if seen.dead:
        return f"{path} is a dead mount, its daemon is gone: run `agentfs umount --force {path}` first"
    if seen.stuck:
        return f"{path} is a mount that does not answer: run `agentfs umount --force {path}` first"
    who = describe(entry)
    return f"{path} is already mounted{who and f' ({who})'}: use it, or run `agentfs umount {path}` first"


def _unfit(path: Path, seen: Glance, host: Host) -> str:
    if seen.errno == errno.ENOENT:
        return f"{path} does not exist: run `mkdir -p {path}` first"
    if seen.errno == errno.ENOTDIR or (seen.answers and not seen.directory):
        return f"{path} is not a directory: choose an empty directory"
    if seen.dead or seen.stuck:
        return f"{path} lies in a mount that does not answer: unmount that first"
    if seen.errno == errno.EACCES:
        return f"no permission for {path}: choose a directory of yours"
    if seen.errno:
        return f"{path} cannot be looked at: {os.strerror(seen.errno)}"
    if not seen.empty:
        return f"{path} is not empty: choose an empty directory, a mount would hide what is in it"
    if host.euid != 0 and not seen.writable:
        return f"no permission to mount on {path}: choose a directory you may write to"
    return ""
