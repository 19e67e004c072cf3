"""From a store's URL to the store with all layers around it: the one place where they are put together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from vfs.config import Config
from vfs.errors import ConfigError, StoreError
from vfs.layout import Layout
from vfs.store.base import ObjectStore
from vfs.store.breaker import Breaker
from vfs.store.layers import Deadline, Limit, innermost
from vfs.store.local import LocalStore
from vfs.store.metered import Metered
from vfs.store.retry import Retry

_SWITCHES = {"yes": True, "no": False}
_CALL = re.compile(r"\b[a-z_]+ '[^']*': ")
"""How errors begin: the call and its key, which say nothing to whoever mounts."""

_OPTIONS = ("fsync", "native", "xattr")

AT_ONCE = 64
"""Calls that a store serves at once; more wait. Well above what uploads and read-ahead keep in flight."""


START_SECONDS = 5.0
"""How long a store that does not answer is tried at the start: whoever mounts waits for it."""


def open_store(url: str, config: Config) -> ObjectStore:
    """The store at `url` ("" is the embedded default). Nothing is asked of it yet: see `prepare`.

    From the outside in: Metered sees what callers see, Retry repeats, Breaker leaves a store alone that does not
    answer, Limit bounds the calls at work, Deadline each of them. What a disk answers needs none of the middle ones.
    Raises ConfigError, one line that says what is allowed.
    """
    inner = _innermost(url)
    if isinstance(inner, LocalStore):
        return Metered(Limit(Deadline(inner, config.store_timeout), AT_ONCE))
    attempts = Limit(Deadline(inner, config.attempt_timeout), AT_ONCE)
    return Metered(Retry(Breaker(attempts, config.store_timeout), config.store_timeout))


async def prepare(store: ObjectStore, config: Config) -> None:
    """Finds out what the store can do; to be called once, before its `capabilities` are looked at.

    Raises StoreError when it cannot be used: one line that says what to do.
    """
    inner = innermost(store)
    if isinstance(inner, LocalStore):
        return
    from vfs.store.s3 import S3Store

    assert isinstance(inner, S3Store)
    place = Layout(config.user).private_key("")
    bounded = Retry(Deadline(inner, START_SECONDS), START_SECONDS)
    try:
        await inner.prepare(bounded, place, write=not config.read_only)
    except StoreError as error:
        raise StoreError(f"store {describe(config.store)}: {_CALL.split(str(error))[-1]}") from error


async def survey(store: ObjectStore, config: Config) -> Sequence[tuple[str, str, str]]:
    """After `prepare`, for `agentfs doctor`: feature, what was found, and what follows where it is missing."""
    inner = innermost(store)
    if isinstance(inner, LocalStore):
        return []
    from vfs.store.s3 import S3Store
    from vfs.store.s3.survey import survey as ask

    assert isinstance(inner, S3Store)
    rows = await ask(store, inner.findings, Layout(config.user).private_key(""))
    return [("endpoint", inner.endpoint, ""), *((row.feature, row.found, row.follows) for row in rows)]


def _innermost(url: str) -> ObjectStore:
    if url.startswith("s3:"):
        from vfs.store.s3 import Location, S3Store  # 150 ms that a file:// store need not wait for

        return S3Store(Location.parse(url), connections=AT_ONCE)
    root, options = _parsed(url)
    return LocalStore(root, **options)


def describe(url: str) -> str:
    """The URL as it may be shown: complete, and without user, password or query."""
    if not url or url.startswith("/"):
        return f"file://{url or default_root()}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition(':')[0]}:..."
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path


def identity(url: str) -> str:
    """The same text for every URL of one store, as far as it can be told, and another for every other store."""
    endpoint = ""
    if url.startswith("s3:"):
        from vfs.store.s3 import Location, with_endpoint

        endpoint = with_endpoint(Location.parse(url)).endpoint
    return f"{describe(url).rstrip('/')} {endpoint}".rstrip()


def default_root() -> Path:
    """Where the embedded store lies if nothing is said (XDG Base Directory Specification)."""
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return base / "agentfs"


def _parsed(url: str) -> tuple[Path, Mapping[str, bool]]:
    if not url:
        return default_root(), {}
    if url.startswith("/"):
        return Path(url), {}
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"store {describe(url)!r} is not a URL: use file:///absolute/directory") from error
    if parts.scheme != "file":
        raise ConfigError(
            f"store {describe(url)!r}: use s3://bucket/prefix, file:///absolute/directory, or a path that starts "
            "with /"
        )
    return _local_root(url, parts), _local_options(parts.query)


def _local_root(url: str, parts: SplitResult) -> Path:
    if parts.netloc or not parts.path.startswith("/"):
        raise ConfigError(f"store {describe(url)!r}: the path must be absolute, file:///absolute/directory")
    if parts.fragment:
        raise ConfigError(f"store {describe(url)!r}: write '#' in a path as %23")
    path = unquote(parts.path)
    if "\0" in path:
        raise ConfigError(f"store {describe(url)!r}: a path cannot contain a NUL byte")
    return Path(path)


def _local_options(query: str) -> dict[str, bool]:
    options: dict[str, bool] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ConfigError(f"store option {name!r} is unknown: a file:// store has {', '.join(_OPTIONS)}")
        if value not in _SWITCHES:
            raise ConfigError(f"store option {name}={value!r}: use {name}=yes or {name}=no")
        options[name] = _SWITCHES[value]
    return options
