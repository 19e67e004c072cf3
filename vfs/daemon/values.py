"""How people write sizes, durations, masks and switches, and what these mean.

Every parser takes text, because flags, environment and `-o` options are text, and raises ValueError with the half
of a sentence that follows "is not allowed: ". A TOML value is turned into such text first, so that `256M`, `"256M"`
and `AGENTFS_RAM_LIMIT=256M` cannot mean different things.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from vfs.errors import ConfigError
from vfs.layout import check_user

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d|)", re.IGNORECASE | re.ASCII)
_UNIT_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_UNIT_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SWITCHES = {
    "yes": True,
    "true": True,
    "on": True,
    "1": True,
    "no": False,
    "false": False,
    "off": False,
    "0": False,
}

REDIS_SCHEMES = (
    *("redis", "rediss", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)

LEVELS = ("debug", "info", "warning", "error")


def size(least: int, most: int = 1 << 50) -> Callable[[str], int]:
    """A parser of bytes: 8388608, 8M, 1.5G, 8MiB. Units count in 1024."""

    def parse(text: str) -> int:
        found = _SIZE.fullmatch(text.strip())
        if not found:
            raise ValueError("use a size such as 64M or 1G")
        value = int(float(found[1]) * _UNIT_BYTES[found[2].upper()])
        if not least <= value <= most:
            raise ValueError(f"use at least {show_size(least)} and at most {show_size(most)}")
        return value

    return parse


def show_size(value: float) -> str:
    """Bytes for a reader: 256M, 1.5G, 12K, 100B."""
    for unit, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if value >= factor:
            return f"{value / factor:.1f}".removesuffix(".0") + unit
    return f"{value:.0f}B"


def duration(least: float, most: float = 30 * 86400.0) -> Callable[[str], float]:
    """A parser of seconds: 300, 0.5, 250ms, 5m, 1h, 2d."""

    def parse(text: str) -> float:
        found = _DURATION.fullmatch(text.strip())
        if not found:
            raise ValueError("use seconds, or a time such as 500ms, 5m or 1h")
        value = float(found[1]) * _UNIT_SECONDS[found[2].lower()]
        if not least <= value <= most:
            raise ValueError(f"use at least {least:g} and at most {most:g} seconds")
        return value

    return parse


def patience(text: str) -> float:
    """A duration from 0, or `ttl`, which is no bound of its own."""
    return math.inf if text.strip().lower() == "ttl" else duration(0)(text)


def show_duration(seconds: float) -> str:
    """Seconds for a reader, two units at most: 42s, 5m 3s, 2h 10m, 3d 4h."""
    left = int(seconds)
    parts: list[str] = []
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, factor)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def count(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]+", text.strip()) or not least <= int(text) <= most:
            raise ValueError(f"use a whole number from {least} to {most}")
        return int(text)

    return parse


def mask(text: str) -> int:
    """umask(2), octal: 022, 0o077."""
    if not re.fullmatch(r"(0o)?[0-7]{1,4}", text.strip()) or int(text, 8) > 0o777:
        raise ValueError("use an octal mask such as 022")
    return int(text, 8)


def switch(text: str) -> bool:
    if text.strip().lower() not in _SWITCHES:
        raise ValueError("use yes or no")
    return _SWITCHES[text.strip().lower()]


def level(text: str) -> str:
    if text.strip().lower() not in LEVELS:
        raise ValueError(f"use one of {', '.join(LEVELS)}")
    return text.strip().lower()


def user(text: str) -> str:
    try:
        return check_user(text)
    except ConfigError as error:
        raise ValueError(str(error).partition(": ")[2]) from error


def path(text: str) -> Path:
    """Absolute from here on: the daemon leaves the directory it was started in."""
    if not text or "\0" in text:
        raise ValueError("use the path of a file")
    return Path(text).expanduser().absolute()


def url(text: str) -> str:
    """The store's URL; the store itself says which it takes. Secrets have no place in it."""
    if text and _password(text):
        raise ValueError("no secrets in a store's URL, it is shown in `ps` and `status`: use the environment")
    return text


def redis(text: str) -> str:
    if text and urlsplit(text).scheme not in REDIS_SCHEMES:
        raise ValueError("use redis://host:6379/0, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    return text


def has_secret(text: str) -> bool:
    """A password stands in the URL."""
    return bool(text) and bool(_password(text))


def options(text: str) -> tuple[str, ...]:
    """Comma-separated mount options, in the order given."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _password(text: str) -> str | None:
    try:
        return urlsplit(text).password
    except ValueError:
        return None
