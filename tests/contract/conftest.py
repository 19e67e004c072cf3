"""Fixtures of the contract suite: `make_store` and `store`, once for each store there is."""

from __future__ import annotations

import functools
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from tests.contract.stores import MAKERS, OPTIONS, SERVERS
from tests.servers.server import Server
from vfs.store.base import ObjectStore
from vfs.store.retry import Retry
from vfs.store.s3 import Location, S3Store
from vfs.store.s3.probe import Findings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs on all stores, or on those that its mark `stores` names."""
    if "make_store" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("stores")
        names = mark.args if mark else (*MAKERS, *SERVERS)
        # s3-restricted differs from s3 by the spelling of its keys, which tests/unit/test_s3_keys.py tests too.
        slow = {"swift": pytest.mark.swift, "s3-restricted": pytest.mark.slow}
        params = [pytest.param(name, marks=slow.get(name, ())) for name in names]
        metafunc.parametrize("maker", params, indirect=True)


@pytest.fixture
def maker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_store(
    maker: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], ObjectStore]:
    """Makes empty stores; whoever makes one closes it."""
    serial = itertools.count()
    if maker in MAKERS:
        return lambda: MAKERS[maker](tmp_path / f"store{next(serial)}")
    server: Server = SERVERS[maker](request)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    findings = found(server)
    unique = secrets.token_hex(8)

    def make() -> ObjectStore:
        url = server.store_url(f"{unique}-{next(serial)}", **OPTIONS.get(maker, {}))
        store = S3Store(Location.parse(url), findings=findings)
        # Swift answers 503 to those who read what is being replaced
        return Retry(store, RETRY_SECONDS) if maker == "swift" else store

    return make


RETRY_SECONDS = 20.0


@functools.cache
def found(server: Server) -> Findings:
    """What the server can do, asked once."""

    async def ask() -> Findings:
        async with aclosing(S3Store(Location.parse(server.store_url(secrets.token_hex(8))))) as store:
            await store.prepare(store, "probe/", write=True)
            return store.findings

    return trio.run(ask)


@pytest.fixture
async def store(make_store: Callable[[], ObjectStore]) -> AsyncIterator[ObjectStore]:
    store = make_store()
    yield store
    await store.aclose()
