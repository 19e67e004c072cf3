"""The store's URL, `s3://bucket/prefix?option=value`, checked option by option."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from vfs.errors import ConfigError
from vfs.store.s3.keys import is_restricted

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
"""Wider than AWS allows today: other stores, and old buckets, have upper case and underscores."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where the objects are and how to talk to the store. "" is the default of botocore's own configuration."""

    bucket: str
    prefix: str = ""
    """Ends in `/`, or is empty."""
    endpoint: str = ""
    """"" is AWS, once it has been looked whether another one is configured: see `vfs.store.s3.endpoint`."""
    endpoint_from: str = field(default="", compare=False)
    """What it was configured by, if not by the URL."""
    region: str = ""
    profile: str = ""
    addressing: str = "auto"
    checksums: str = "when_required"
    part_size: int = 0
    """Bytes; 0: as the mount is configured."""
    equal_parts: bool = False
    sse: str = ""
    sse_key: str = ""
    storage_class: str = ""
    request_payer: bool = False
    keys: str = "plain"
    ca_bundle: str = ""

    @classmethod
    def parse(cls, url: str) -> Location:
        """Raises ConfigError: one line that names the option and says what is allowed."""
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise ConfigError("store s3://...: not a URL, use s3://bucket/prefix") from error
        if "@" in parts.netloc:
            raise ConfigError(
                "store s3://...: no user and password in the URL, where every process sees them: "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or profile=NAME"
            )
        bucket = parts.netloc
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(f"store s3://{bucket}: {bucket!r} is no bucket name, use s3://bucket/prefix")
        if parts.fragment or url.endswith("#"):
            raise ConfigError(f"store s3://{bucket}: write '#' in a prefix as %23")
        prefix, options = _prefix(parts.path), _options(parts.query)
        if options.get("keys") == "restricted" and not is_restricted(prefix):
            raise ConfigError(f"store s3://{bucket}/{prefix}: keys=restricted allows no such prefix")
        return cls(bucket, prefix, **options)  # type: ignore[arg-type]


def _prefix(path: str) -> str:
    prefix = unquote(path).strip("/")
    if "\0" in prefix or len(prefix.encode()) > 512:
        raise ConfigError("store s3://bucket/prefix: a prefix has at most 512 bytes, none of them NUL")
    return f"{prefix}/" if prefix else ""


def _options(query: str) -> Mapping[str, object]:
    options: dict[str, object] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in KNOWN:
            raise ConfigError(f"store option {name!r} is unknown: an s3:// store has {', '.join(KNOWN)}")
        if name in options:
            raise ConfigError(f"store option {name!r} is there twice")
        options[name] = KNOWN[name](name, value)
    if options.get("sse_key") and options.get("sse") != "aws:kms":
        raise ConfigError("store option sse_key: it is the key of sse=aws:kms, say that too")
    return options


def check_endpoint(name: str, value: str) -> str:
    """Without a slash at its end. Raises ConfigError; `name` says where the value is from."""
    wrong = f"store option {name}: use {name}=https://host or {name}=http://host:port"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(wrong) from error
    if parts.username or parts.password:
        raise ConfigError(f"store option {name}: no user and password in a URL, use the environment")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(wrong)
    return value.rstrip("/")


def _one_of(*words: str) -> Callable[[str, str], str]:
    def check(name: str, value: str) -> str:
        if value not in words:
            raise ConfigError(f"store option {name}={value!r}: use one of {', '.join(words)}")
        return value

    return check


def _switch(name: str, value: str) -> bool:
    return _one_of("yes", "no")(name, value) == "yes"


def _part_size(name: str, value: str) -> int:
    found = re.fullmatch(r"([0-9]{1,10})([MG]?)", value)
    size = int(found[1]) * {"": 1, "M": 1 << 20, "G": 1 << 30}[found[2]] if found else 0
    if not 5 << 20 <= size <= 5 << 30:
        raise ConfigError(f"store option {name}={value!r}: use a size from 5M to 5G, such as {name}=16M")
    return size


def _token(name: str, value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,2048}", value):
        raise ConfigError(f"store option {name}: a word without blanks is expected")
    return value


def _text(name: str, value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ConfigError(f"store option {name} is empty, or not a name")
    return value


def _file(name: str, value: str) -> str:
    if not value.startswith("/") or not Path(value).is_file():
        raise ConfigError(f"store option {name}={value!r}: the absolute path of a PEM file is expected")
    return value


KNOWN: Mapping[str, Callable[[str, str], object]] = {
    "endpoint": check_endpoint,
    "region": _token,
    "profile": _text,
    "addressing": _one_of("auto", "path", "virtual"),
    "checksums": _one_of("when_required", "when_supported"),
    "part_size": _part_size,
    "equal_parts": _switch,
    "sse": _one_of("AES256", "aws:kms"),
    "sse_key": _token,
    "storage_class": _token,
    "request_payer": _switch,
    "keys": _one_of("plain", "restricted"),
    "ca_bundle": _file,
}
