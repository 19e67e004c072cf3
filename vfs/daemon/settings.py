"""What can be set, where it may be set, and what wins: flags, then environment, then agentfs.toml, then defaults.

One table says all of it. Flags, `AGENTFS_*` names, TOML keys and the table in the README are derived from it, so a
new setting is one line here and a field of `Config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vfs.config import KIB, MIB, Config
from vfs.daemon import values
from vfs.daemon.settings_file import SettingsFile
from vfs.errors import ConfigError


class FlagError(ConfigError):
    """What stands on the command line itself is wrong: exit code 2."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `name` is the field of Config and the TOML key; the flag and the variable follow from it."""

    name: str
    parse: Callable[[str], object]
    metavar: str
    help: str
    on_command_line: bool = True
    is_switch: bool = False
    named: str = ""
    """The variable, where it is not AGENTFS_ and the name."""

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return self.named or f"AGENTFS_{self.name.upper()}"


SETTINGS: tuple[Setting, ...] = (
    Setting("user", values.user, "ID", "Whose files: the user id in the store."),
    Setting(
        "store",
        values.url,
        "URL",
        "Where the objects are: s3://bucket/prefix or file:///dir. Default: file:// below XDG_DATA_HOME.",
    ),
    Setting(
        "redis",
        values.redis,
        "URL",
        "Redis that the mounts of one user share, so that each sees at once what another wrote.",
        named="AGENTFS_REDIS_URL",
    ),
    Setting("ram_limit", values.size(16 * MIB), "SIZE", "Ceiling of all file data in RAM."),
    Setting("read_only", values.switch, "", "Refuse every change.", is_switch=True),
    Setting("allow_other", values.switch, "", "Let other users of this machine in.", is_switch=True),
    Setting("uid", values.count(0, 2**32 - 2), "N", "Owner of files that carry none. Default: yours."),
    Setting("gid", values.count(0, 2**32 - 2), "N", "Group of files that carry none. Default: yours."),
    Setting("umask", values.mask, "OCTAL", "Permissions taken from files that carry none."),
    Setting("workspace_ttl", values.duration(0), "TIME", "How long attributes of workspace are believed."),
    Setting("memory_ttl", values.duration(0), "TIME", "How long attributes of memory are believed."),
    Setting("revalidate", values.patience, "TIME", "Age at which an open asks the store again; or ttl."),
    Setting("log_level", values.level, "LEVEL", "debug, info, warning or error."),
    Setting(
        "log_file",
        values.path,
        "FILE",
        "Log to this file. Default: stderr with -f, else a file (see status).",
    ),
    Setting("fuse_options", values.options, "OPT,OPT", "More mount options.", on_command_line=False),
    Setting("negative_ttl", values.duration(0), "TIME", "How long a name is believed absent.", False),
    Setting("cache_entries", values.count(16, 1 << 24), "N", "Attributes kept in RAM.", False),
    Setting(
        "shared_content", values.size(0, 1 << 20), "SIZE", "Largest file kept in the shared cache.", False
    ),
    Setting("part_size", values.size(64 * KIB, 512 * MIB), "SIZE", "Size of one uploaded part.", False),
    Setting("uploads", values.count(1, 128), "N", "Uploads at once.", False),
    Setting("read_ahead", values.size(0, 1 << 30), "SIZE", "Largest window read ahead of one reader.", False),
    Setting(
        "store_timeout",
        values.duration(1),
        "TIME",
        "Longest wait for one answer of the store, retries included.",
        False,
    ),
    Setting(
        "attempt_timeout",
        values.duration(1),
        "TIME",
        "Longest wait before a request is made again (S3).",
        False,
    ),
    Setting("space_timeout", values.duration(1), "TIME", "Longest wait of a writer for room in RAM.", False),
    Setting(
        "path_timeout", values.duration(1), "TIME", "Longest wait for a rename of a directory above.", False
    ),
    Setting("fuse_tasks", values.count(2, 512), "N", "FUSE requests served at once.", False),
    Setting("max_handles", values.count(16, 1 << 20), "N", "Files open at once.", False),
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
_BY_VARIABLE = {setting.variable: setting for setting in SETTINGS}

CONFIG_VARIABLE = "AGENTFS_CONFIG"
_FOREIGN = {"AGENTFS_KEY", "AGENTFS_SESSION", "AGENTFS_SANDBOX"}
"""Another product of the name uses these."""

_ALIASES = {"REDIS_URL": "redis"}
"""What others call the same; the variable of the table comes first."""


@dataclass(frozen=True, slots=True)
class Given:
    """One value as text, and where it came from, as an error message names it."""

    text: str
    source: str


def from_flags(flags: Mapping[str, str]) -> dict[str, Given]:
    """Settings by name from the command line. Raises ConfigError for a secret, which `ps` would show."""
    given = {name: Given(text, BY_NAME[name].flag) for name, text in flags.items()}
    for name, one in given.items():
        if values.has_secret(one.text):
            setting = BY_NAME[name]
            raise FlagError(
                f"{setting.flag}: a password on the command line is seen by everyone in `ps`: "
                f"set {setting.variable} in the environment"
            )
    return given


def from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """Raises ConfigError for a variable that nobody knows: it is a misspelling. An empty one is as good as unset."""
    environ = {variable: text for variable, text in environ.items() if text}
    given: dict[str, Given] = {}
    for variable, name in _ALIASES.items():
        if variable in environ:
            given[name] = Given(environ[variable], variable)
    for variable, text in environ.items():
        if variable in _BY_VARIABLE:
            given[_BY_VARIABLE[variable].name] = Given(text, variable)
        elif variable.startswith("AGENTFS_") and not _tolerated(variable):
            raise ConfigError(f"{variable} is not a setting{nearest(variable, _BY_VARIABLE)}")
    return given


def from_file(file: SettingsFile) -> dict[str, Given]:
    """Raises ConfigError with file and line for an unknown key."""
    given: dict[str, Given] = {}
    for key, text in file.texts.items():
        where = file.where(key)
        if key not in BY_NAME:
            raise ConfigError(f"{where}: {key} is not a setting{nearest(key, BY_NAME)}")
        given[key] = Given(text, f"{where}: {key}")
    return given


def resolve(
    mountpoint: Path,
    flags: Mapping[str, str],
    *,
    environ: Mapping[str, str] | None = None,
    config_file: str = "",
    need_user: bool = True,
) -> Config:
    """The one Config, from everything that was said. Raises ConfigError: one line, naming the place."""
    environ = os.environ if environ is None else environ
    file = SettingsFile.find(config_file or environ.get(CONFIG_VARIABLE, ""), environ)
    given = (from_file(file) if file else {}) | from_environment(environ) | from_flags(flags)
    fields = {name: _parsed(name, one) for name, one in given.items()}
    if "user" not in fields:
        if need_user:
            raise ConfigError("whose files? Say --user ID, or set AGENTFS_USER, or `user` in agentfs.toml")
        fields["user"] = "nobody"
    return _checked(Config(mountpoint=mountpoint, **fields))  # type: ignore[arg-type]  # parsed by the table


def nearest(name: str, known: Mapping[str, object]) -> str:
    """The end of an error message: what was meant, if that can be guessed."""
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def show_default(setting: Setting) -> str:
    """A setting's default as people write it; empty where it depends on the machine."""
    default = {field.name: field.default for field in dataclasses.fields(Config)}[setting.name]
    if setting.name == "umask":
        return f"{default:03o}"
    if setting.metavar == "SIZE" and isinstance(default, int):
        return values.show_size(default)
    if setting.metavar == "TIME" and isinstance(default, float):
        return values.show_duration(default)
    if isinstance(default, bool):
        return "no"
    return str(default) if isinstance(default, int | str) else ""


def _tolerated(variable: str) -> bool:
    return variable in _FOREIGN | {CONFIG_VARIABLE, *_ALIASES} or variable.startswith("AGENTFS_TEST_")


def _parsed(name: str, one: Given) -> object:
    try:
        return BY_NAME[name].parse(one.text)
    except ValueError as error:
        # A value that holds a password is not repeated, wherever it came from.
        shown = "this value" if values.has_secret(one.text) else repr(one.text)
        kind = FlagError if one.source.startswith("--") else ConfigError
        raise kind(f"{one.source}: {shown} is not allowed: {error}") from error


def _checked(config: Config) -> Config:
    if config.ram_limit < 2 * config.part_size:
        raise ConfigError(
            f"ram_limit {values.show_size(config.ram_limit)} is not allowed: use at least two parts "
            f"of {values.show_size(config.part_size)} (part_size)"
        )
    return config
