"""`-o opt,opt`: what an /etc/fstab line and `agentfs mount -o` may say.

mount(8) hands everything in the fourth field of fstab to its helper, its own words included. Those are known here
and dropped; what is a setting becomes one; what FUSE and the kernel know is passed on; the rest is a misspelling.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from vfs.daemon.settings import BY_NAME, nearest
from vfs.errors import ConfigError

_OF_MOUNT = frozenset(
    {
        "rw",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "defaults",
        "nofail",
        "_netdev",
        "netdev",
    }
    | {
        "exec",
        "nodev",
        "nosuid",
        "noatime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "lazytime",
    }
    | {
        "nolazytime",
        "diratime",
        "nodiratime",
        "loud",
        "silent",
        "async",
        "nonempty",
        "default_permissions",
        "sloppy",
    }
)
"""Words of mount(8) that change nothing here: they hold anyway, or are meant for others."""

_OF_MOUNT_VALUED = frozenset({"comment", "fsname", "subtype", "uhelper", "setuid", "helper"})

_OF_FUSE = frozenset({"dev", "suid", "noexec", "sync", "dirsync", "atime", "auto_unmount", "debug"})
_OF_FUSE_VALUED = frozenset({"max_read", "context", "fscontext", "defcontext", "rootcontext"})

_ADDED_BY_MOUNT = frozenset({"exec", "suid", "dev"})
"""mount(8) says these to its helper wherever fstab does not say the opposite; here the opposite is the default."""

_SPELLED_OTHERWISE = {"agentfs_user": "user", "user_id": "user", "ro": "read_only"}


@dataclass(frozen=True, slots=True)
class HelperCall:
    """What mount(8) asks for. `settings` are texts by name, as flags are."""

    source: str
    mountpoint: str
    settings: dict[str, str]
    config_file: str
    fake: bool


def parse_options(text: str) -> tuple[dict[str, str], str]:
    """Settings as texts by name, and the `config=` file. Raises ConfigError for what nobody knows."""
    settings: dict[str, str] = {}
    passed: list[str] = []
    config_file = ""
    for word in _words(text):
        name, equals, value = word.partition("=")
        known = _SPELLED_OTHERWISE.get(name.replace("-", "_"), name.replace("-", "_"))
        if name == "config" and equals:
            config_file = value
        elif name.startswith(("x-", "X-")) or (name in _OF_MOUNT and not equals) or name in _OF_MOUNT_VALUED:
            continue
        elif (name in _OF_FUSE and not equals) or (name in _OF_FUSE_VALUED and equals):
            passed.append(word)
        elif known in BY_NAME and known != "fuse_options":
            settings[known] = _value(known, word, equals, value)
        else:
            names = {*BY_NAME, *_OF_MOUNT, *_OF_FUSE, *_SPELLED_OTHERWISE} - {"fuse_options"}
            raise ConfigError(f"-o {word}: unknown option{nearest(name, dict.fromkeys(names))}")
    if passed:
        settings["fuse_options"] = ",".join(passed)
    return settings, config_file


def is_helper_call(argv: list[str], commands: Container[str]) -> bool:
    """mount.fuse3 calls `agentfs SOURCE MOUNTPOINT -o ...`: where SOURCE stands, we have the name of a command."""
    if len(argv) < 3 or argv[0] in commands or argv[0].startswith("-"):
        return False
    return argv[1].startswith("/") and argv[2] == "-o"


def parse_helper_call(argv: list[str]) -> HelperCall:
    """`SOURCE MOUNTPOINT [-sfnv] [-N ns] [-t type] [-o opts]` (mount(8), "External helpers"). Raises ConfigError."""
    positional: list[str] = []
    options: list[str] = []
    fake = False
    rest = iter(argv)
    for word in rest:
        if word in ("-o", "-t", "-N"):
            value = next(rest, None)
            if value is None:
                raise ConfigError(f"{word} needs a value")
            options += [value] if word == "-o" else []
        elif word.startswith("-o") and len(word) > 2:
            options.append(word[2:])
        elif word.startswith("-") and len(word) > 1 and set(word[1:]) <= set("sfnvrw"):
            fake = fake or "f" in word
            options += ["ro"] if "r" in word else []
        elif word.startswith("-") and len(word) > 1:
            raise ConfigError(
                f"{word}: unknown flag; mount(8) calls this as SOURCE MOUNTPOINT [-sfnv] -o OPTIONS"
            )
        else:
            positional.append(word)
    if len(positional) != 2:
        raise ConfigError("mount(8) calls this as: mount.fuse.agentfs SOURCE MOUNTPOINT [-sfnv] -o OPTIONS")
    source, mountpoint = positional
    words = [word for word in ",".join(options).split(",") if word not in _ADDED_BY_MOUNT]
    settings, config_file = parse_options(",".join(words))
    if source not in ("agentfs", "none", "") and "store" not in settings:
        settings["store"] = source
    return HelperCall(source, mountpoint, settings, config_file, fake)


def _value(name: str, word: str, equals: str, value: str) -> str:
    if equals:
        return value
    if BY_NAME[name].is_switch:
        return "yes"
    raise ConfigError(f"-o {word}: needs a value, {word}={BY_NAME[name].metavar}")


def _words(text: str) -> Iterable[str]:
    return (word.strip() for word in text.split(",") if word.strip())
