"""agentfs.toml: where it is looked for, and on which line a key stands.

tomllib gives values and no places, and an error without a line is half an error: the line is looked up afterwards
in the text. A setting is one `key = value` at the top level, so that is a matter of one regex.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vfs.errors import ConfigError

NAME = "agentfs.toml"
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """Its keys and values, as text that `vfs.daemon.values` parses."""

    path: Path
    text: str = field(repr=False)
    texts: Mapping[str, str] = field(repr=False)

    @classmethod
    def find(cls, named: str, environ: Mapping[str, str]) -> SettingsFile | None:
        """The file that was named, or the first that exists. Raises ConfigError if a named one is missing."""
        if named:
            return cls.read(Path(named).expanduser().absolute())
        for place in _usual_places(environ):
            if os.path.isfile(place):
                return cls.read(Path(place).absolute())
        return None

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Raises ConfigError, naming file and line, for what is not TOML or not a plain value."""
        try:
            with path.open("rb") as file:
                text = file.read(MOST_BYTES + 1).decode()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not text in UTF-8") from error
        if len(text) > MOST_BYTES:
            raise ConfigError(f"{path}: is larger than {MOST_BYTES} bytes; that is no {NAME}")
        try:
            parsed = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}{_place(error)}: is not TOML: {_reason(error)}") from error
        file_of = cls(path, text, {})
        return cls(path, text, {key: file_of._as_text(key, value) for key, value in parsed.items()})

    def where(self, key: str) -> str:
        """`/etc/agentfs.toml:7`"""
        pattern = re.compile(rf"""^\s*\[?\[?\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
        for number, line in enumerate(self.text.splitlines(), 1):
            if pattern.match(line):
                return f"{self.path}:{number}"
        return str(self.path)

    def _as_text(self, key: str, value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str | int | float):
            # To TOML 22 and 0o22 are different numbers; to whoever writes a mask they are not.
            written = re.search(r"^\s*umask\s*=\s*([0-9a-zA-Z]+)", self.text, re.MULTILINE)
            return written[1] if key == "umask" and written else str(value)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return ",".join(value)
        raise ConfigError(f"{self.where(key)}: {key} must be one value; there are no sections in {NAME}")


def _usual_places(environ: Mapping[str, str]) -> list[str]:
    config = environ.get("XDG_CONFIG_HOME", "")
    home = environ.get("HOME", "")
    places = [NAME]
    if config.startswith("/"):
        places.append(f"{config}/agentfs/{NAME}")
    elif home.startswith("/"):
        places.append(f"{home}/.config/agentfs/{NAME}")
    return [*places, f"/etc/{NAME}"]


def _place(error: tomllib.TOMLDecodeError) -> str:
    found = re.search(r"at line (\d+)", str(error))
    return f":{found[1]}" if found else ""


def _reason(error: tomllib.TOMLDecodeError) -> str:
    reason = re.sub(r"\s*\(at .*\)$", "", str(error))
    return reason[:1].lower() + reason[1:]
