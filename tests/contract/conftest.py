"""Fixtures of the contract suite: `make_store` and `store`, once for each store there is."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.contract.stores import MAKERS, OPTIONS, SERVERS
from tests.servers.server import Server
from vfs.store.base import ObjectStore
from vfs.store.s3 import Location, S3Store


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs on all stores, or on those that its mark `stores` names."""
    if "make_store" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("stores")
        metafunc.parametrize("maker", mark.args if mark else (*MAKERS, *SERVERS), indirect=True)


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
    unique = secrets.token_hex(8)
    return lambda: S3Store(
        Location.parse(server.store_url(f"{unique}-{next(serial)}", **OPTIONS.get(maker, {})))
    )


@pytest.fixture
async def store(make_store: Callable[[], ObjectStore]) -> AsyncIterator[ObjectStore]:
    store = make_store()
    yield store
    await store.aclose()
