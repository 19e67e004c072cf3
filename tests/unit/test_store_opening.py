"""Store URLs: what is accepted, what is refused and how that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfs.config import Config
from vfs.errors import ConfigError
from vfs.store.base import ObjectStore
from vfs.store.layers import Layer, innermost
from vfs.store.local import LocalStore
from vfs.store.metered import Metered
from vfs.store.opening import default_root, describe, open_store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(mountpoint=tmp_path / "mnt", user="u1")


def local(store: ObjectStore) -> LocalStore:
    found = innermost(store)
    assert isinstance(found, LocalStore)
    return found


async def test_the_default_is_in_the_user_s_data(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    store = open_store("", config)
    assert local(store).root == tmp_path / "data/agentfs" == default_root()
    assert describe("") == f"file://{tmp_path}/data/agentfs"
    assert describe("/some/dir") == "file:///some/dir"
    assert describe("file:///some/dir?fsync=no") == "file:///some/dir"
    await store.aclose()


@pytest.mark.parametrize("data_home", ["", "relative/is/to/be/ignored"])
def test_without_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_home: str) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", data_home)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".local/share/agentfs"


async def test_paths_and_urls(tmp_path: Path, config: Config) -> None:
    for url, name in (
        (f"{tmp_path}/plain path", "plain path"),
        (f"file://{tmp_path}/url", "url"),
        (f"file://{tmp_path}/a%20b%23c", "a b#c"),
        (f"file://{tmp_path}/unquoted ü", "unquoted ü"),
    ):
        store = open_store(url, config)
        assert local(store).root == tmp_path / name
        await store.aclose()


async def test_options(tmp_path: Path, config: Config) -> None:
    store = open_store(f"file://{tmp_path}/a?native=no&fsync=no", config)
    assert not store.capabilities.rename
    assert not store.capabilities.list_metadata
    await store.aclose()
    store = open_store(f"file://{tmp_path}/b?fsync=yes&native=yes&xattr=no", config)
    assert store.capabilities.rename
    assert not store.capabilities.exchange
    await store.aclose()


async def test_all_layers_are_there(tmp_path: Path, config: Config) -> None:
    store = open_store(str(tmp_path / "s"), config)
    assert isinstance(store, Metered)
    names = []
    layer: ObjectStore = store
    while isinstance(layer, Layer):
        names.append(type(layer).__name__)
        layer = layer.inner
    assert names == ["Metered", "Limit", "Deadline"]
    await store.aclose()


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("relative/dir", "starts with /"),
        ("ftp://host/x", "file:///absolute/directory"),
        ("file:relative", "absolute"),
        ("file://host/dir", "absolute"),
        ("file://localhost/dir", "absolute"),
        ("file://", "absolute"),
        ("file:///tmp/x#fragment", "%23"),
        ("file:///tmp/x%00y", "NUL"),
        ("file:///tmp/x?color=red", "fsync, native, xattr"),
        ("file:///tmp/x?fsync=maybe", "fsync=yes or fsync=no"),
        ("file:///tmp/x?fsync", "fsync=yes or fsync=no"),
        ("s3:///prefix", "no bucket name"),
        ("s3://bucket/prefix?speed=11", "'speed' is unknown"),
        ("s3://key:secret@bucket/", "no user and password in the URL"),
        ("http://[broken", "file:///absolute/directory"),
    ],
)
def test_what_is_refused(config: Config, url: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_store(url, config)
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Path("/tmp/x").exists()


def test_secrets_are_not_shown(config: Config) -> None:
    bucket = "s3://key:secret@bucket/prefix?token=secret"
    assert describe(bucket) == "s3://bucket/prefix"
    assert "secret" not in describe("https://user:secret@host/x?sig=secret#secret")
    for url in (bucket, "http://user:secret@[broken", "https://user:secret@host/x", "file:relative?k=secret"):
        with pytest.raises(ConfigError) as refused:
            open_store(url, config)
        assert "secret" not in str(refused.value)
