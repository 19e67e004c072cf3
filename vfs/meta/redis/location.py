"""The URL of a Redis: one server, a socket, Sentinels or a Cluster.

    redis://[user:password@]host[:6379][/db]              rediss://... with TLS
    unix:///path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:26379][,host...]/service[/db]     rediss+sentinel://...
    redis+cluster://[user:password@]host[:6379][,host...]                    rediss+cluster://...

TLS verifies against the authorities of the system, or those of `?ssl_ca_certs=FILE`; `&ssl_certfile=FILE` and
`&ssl_keyfile=FILE` are what we show. `&ssl_check_hostname=false` is for Sentinels or a Cluster that name servers
by addresses which no certificate has; `&ssl_cert_reqs=none` believes everybody.

A password may come from AGENTFS_REDIS_PASSWORD or REDIS_PASSWORD instead; one that the Sentinels themselves want,
from AGENTFS_SENTINEL_PASSWORD. No message quotes a URL: it may hold one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, unquote

from vfs.errors import ConfigError

FORMS = (
    "use redis://host:6379/0, rediss://..., unix:///path/to/socket, "
    "redis+sentinel://host:26379/service/0 or redis+cluster://host:6379"
)
PASSWORDS = ("AGENTFS_REDIS_PASSWORD", "REDIS_PASSWORD")
SENTINEL_PASSWORD = "AGENTFS_SENTINEL_PASSWORD"
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
"""Of the redis library, whose URLs take them too."""
TLS_CHOICES = {"ssl_cert_reqs": ("required", "none"), "ssl_check_hostname": ("true", "false")}

_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<info>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<name>[^\[\]:,\s]+))(?::(?P<port>[0-9]{1,5}))?")


class Form(StrEnum):
    SERVER = "server"
    SOCKET = "unix"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Location:
    """Where Redis is, and who we are there. `str()` of it has no secret in it."""

    form: Form
    hosts: tuple[tuple[str, int], ...] = ()
    socket: str = ""
    service: str = ""
    db: int = 0
    tls: Mapping[str, str] | None = None
    """None: without TLS. Else what the URL says beyond the default, which is to verify."""
    username: str = ""
    password: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.socket or ",".join(f"{host}:{port}" for host, port in self.hosts)

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> Location:
        """Raises ConfigError."""
        found = _URL.fullmatch(url)
        scheme, tls, form = _scheme(found["scheme"] if found else "")
        if found is None or form is None:
            raise ConfigError(f"redis: not a URL of one; {FORMS}")
        username, _, password = (found["info"] or "").partition(":")
        path = unquote(found["path"] or "")
        options = _options(scheme, found["query"] or "", tls)
        db = options.pop("db", "")
        place: dict[str, object] = {}
        if form is Form.SOCKET:
            if found["hosts"] or len(path) < 2:
                raise ConfigError(f"redis: {scheme}:// has no path of a socket; {FORMS}")
            place["socket"] = path
        else:
            place["hosts"] = _hosts(found["hosts"], 26379 if form is Form.SENTINEL else 6379)
            words = [word for word in path.split("/") if word]
            if form is Form.SENTINEL:
                if not words:
                    raise ConfigError(f"redis: {scheme}:// does not name the service; {FORMS}")
                place["service"] = words.pop(0)
            db = words.pop(0) if words else db
            if words or (len(place["hosts"]) > 1 and form is Form.SERVER):  # type: ignore[arg-type]
                raise ConfigError(f"redis: {scheme}:// with more than one host or database; {FORMS}")
        number = _db(db, form)
        named = [environment[name] for name in PASSWORDS if environment.get(name)]
        secret = unquote(password) or (named[0] if named else "")
        return cls(
            form,
            db=number,
            tls=options if tls else None,
            username=unquote(username),
            password=secret,
            sentinel_password=environment.get(SENTINEL_PASSWORD, "") if form is Form.SENTINEL else "",
            **place,  # type: ignore[arg-type]
        )


def _scheme(scheme: str) -> tuple[str, bool, Form | None]:
    base, _, kind = scheme.partition("+")
    forms = {"": Form.SERVER, "sentinel": Form.SENTINEL, "cluster": Form.CLUSTER}
    if scheme == "unix":
        return scheme, False, Form.SOCKET
    return scheme, base == "rediss", forms.get(kind) if base in ("redis", "rediss") else None


def _options(scheme: str, query: str, tls: bool) -> dict[str, str]:
    options: dict[str, str] = {}
    known = ("db", *TLS_OPTIONS) if tls else ("db",)
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigError(f"redis: {scheme}:// has no such option; it has {', '.join(known)}")
        options[name] = value
    for name, choices in TLS_CHOICES.items():
        if options.get(name, choices[0]) not in choices:
            raise ConfigError(f"redis: {name} is {' or '.join(choices)}")
    return options


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    hosts: list[tuple[str, int]] = []
    for part in text.split(","):
        found = _HOST.fullmatch(part)
        if found is None or int(found["port"] or port) > 65535:
            raise ConfigError(f"redis: that is no host and port; {FORMS}")
        hosts.append((found["v6"] or unquote(found["name"]), int(found["port"] or port)))
    return tuple(hosts)


def _db(text: str, form: Form) -> int:
    if text and not re.fullmatch(r"[0-9]{1,6}", text):
        raise ConfigError(f"redis: a database is a number; {FORMS}")
    if form is Form.CLUSTER and int(text or 0):
        raise ConfigError("redis: a Cluster has only database 0")
    return int(text or 0)
