"""Mounts of the S3 server behind a proxy that counts their requests, and breaks what it is told to break.

Fixtures, for the conftest of a directory to import.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.proxy import Proxy
from tests.servers.server import Server

QUIET_SECONDS = 0.15
QUIET_DEADLINE = 20.0


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    with Proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def remote(proxy: Proxy, s3: Server, mounts: MakeMount) -> Iterator[MakeMount]:
    """`mounts`, on the S3 server behind the proxy; at the end the proxy lets everything pass."""

    def make(**options: object) -> Mount:
        options.setdefault("server", s3.through(proxy.url))
        return mounts(**options)

    yield make
    proxy.clear()
    if not proxy.running:
        proxy.resume()


def settle(proxy: Proxy) -> None:
    """Returns when nothing has been asked for a while: what a mount does by itself is over."""
    deadline = time.monotonic() + QUIET_DEADLINE
    seen = -1
    while len(proxy.book) != seen:
        assert time.monotonic() < deadline, "requests without an end"
        seen = len(proxy.book)
        time.sleep(QUIET_SECONDS)
        proxy.wait_idle()
