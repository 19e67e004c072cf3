"""Where credentials come from, that changed files are read, and that secrets are shown nowhere."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import trio

from tests.wire import Reply, Seen, error, wire
from vfs.errors import StoreDenied
from vfs.store.base import ObjectMeta
from vfs.store.s3 import Location, S3Store, client
from vfs.types import Key

pytestmark = pytest.mark.usefixtures("s3_credentials")


def stored(seen: Seen) -> Reply:
    return Reply(headers={"etag": '"e"'})


def who(seen: Seen) -> str:
    """The access key that signed a request."""
    return seen.headers["authorization"].split("Credential=")[1].split("/")[0]


def write(path: Path, *profiles: tuple[str, str]) -> None:
    text = "".join(
        f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = very-secret\n"
        for name, key in profiles
    )
    path.write_text(text)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared credentials file in place of the environment's."""
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    write(path, ("default", "FIRST"), ("team", "TEAM"))
    return path


def store_at(endpoint: str, options: str = "") -> S3Store:
    return S3Store(Location.parse(f"s3://bucket?endpoint={endpoint}&region=us-east-1{options}"))


async def put(store: S3Store) -> None:
    await store.put(Key("k"), [b"x"], ObjectMeta())


async def test_the_environment_comes_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    async with wire(stored) as served:
        store = store_at(served.endpoint)
        await put(store)
        await store.aclose()
    assert who(served.requests[0]) == "ENV"
    assert served.requests[0].headers["x-amz-security-token"] == "token"


async def test_profiles(file: Path) -> None:
    async with wire(stored) as served:
        for options in ("", "&profile=team"):
            store = store_at(served.endpoint, options)
            await put(store)
            await store.aclose()
    assert [who(request) for request in served.requests] == ["FIRST", "TEAM"]


async def test_a_changed_file_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FILES_SECONDS", 0.0)
    async with wire(stored) as served:
        store = store_at(served.endpoint)
        await put(store)
        await put(store)
        write(file, ("default", "SECOND-KEY"))
        await put(store)
        file.write_text("[default\nbroken")
        await put(store)
        write(file, ("default", "THE-THIRD-KEY"))
        await put(store)
        await store.aclose()
    keys = [who(request) for request in served.requests]
    assert keys == ["FIRST", "FIRST", "SECOND-KEY", "SECOND-KEY", "THE-THIRD-KEY"]


async def test_a_refusal_makes_it_look_at_once(file: Path) -> None:
    def answer(seen: Seen) -> Reply:
        return stored(seen) if who(seen) == "RENEWED" else error("ExpiredToken", 400)

    async with wire(answer) as served:
        store = store_at(served.endpoint)
        with pytest.raises(StoreDenied):
            await put(store)
        write(file, ("default", "RENEWED"))
        await put(store)
        await store.aclose()


async def test_calls_under_way_end_with_the_old_ones(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FILES_SECONDS", 0.0)
    data = b"x" * (32 << 20)

    def answer(seen: Seen) -> Reply:
        return Reply(200, data, {"etag": '"e"'}) if seen.method == "GET" else stored(seen)

    async with wire(answer) as served:
        store = store_at(served.endpoint)
        async with trio.open_nursery() as nursery:
            got: list[int] = []

            async def get() -> None:
                got.append(len((await store.get(Key("k"))).data))

            nursery.start_soon(get)
            while not served.requests:
                await trio.lowlevel.checkpoint()
            write(file, ("default", "ANOTHER"))
            await put(store)
        assert got == [len(data)]
        await store.aclose()
    assert [who(request) for request in served.requests] == ["FIRST", "ANOTHER"]


async def test_secrets_are_not_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with wire(lambda seen: error("AccessDenied", 403)) as served:
        store = store_at(served.endpoint)
        with pytest.raises(StoreDenied) as raised:
            await put(store)
        assert "FIRST" not in str(raised.value) + repr(store)
        await store.aclose()
    assert "very-secret" not in caplog.text
    assert "Signature" not in caplog.text
    assert os.environ["AWS_SHARED_CREDENTIALS_FILE"] not in caplog.text
