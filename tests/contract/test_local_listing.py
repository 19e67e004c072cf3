"""Listings of the embedded store: how often a directory is read, and that nothing depends on what is remembered."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.stores import keys, put
from tests.contract.test_listing import expected, key_sets, pages
from vfs.store.local import LocalStore, listing
from vfs.types import Key


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with 100,000 names in one directory. Links, because files would take five times as long to make."""
    root = tmp_path_factory.mktemp("crowd")
    (root / "d").mkdir()
    fd = os.open(root / "d", os.O_RDONLY)
    for number in range(100_000):
        first = number - number % 20_000  # ext4 takes 65,000 links to one file
        if number == first:
            os.mknod(f"{number:06}", 0o600, dir_fd=fd)
        else:
            os.link(f"{first:06}", f"{number:06}", src_dir_fd=fd, dst_dir_fd=fd)
    os.close(fd)
    yield root
    shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.parametrize("delimiter", ["", "/"])
async def test_pages_do_not_read_the_directory_again(crowd: Path, delimiter: str) -> None:
    """100 pages; the directory is read once for each `WINDOW` of its names, and only a page's files are opened."""
    store = LocalStore(crowd, fsync=False, native=False)
    token = None
    names: list[str] = []
    for _ in range(100):
        page = await store.list("d/", delimiter=delimiter, token=token)
        names += [info.key for info in page.objects]
        token = page.token
    assert token is None
    assert names == [f"d/{number:06}" for number in range(100_000)]
    assert store.statistics().directory_reads == -(-100_000 // listing.WINDOW)
    await store.aclose()


@pytest.mark.slow
async def test_a_short_prefix_of_a_crowd(crowd: Path) -> None:
    store = LocalStore(crowd, fsync=False)
    assert await keys(store, "d/04999") == [f"d/04999{digit}" for digit in range(10)]
    assert store.statistics().directory_reads == 1
    await store.aclose()


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_with_a_small_memory_and_none(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    """Windows of a few names, and every token as if the process had been started anew in between."""
    monkeypatch.setattr(listing, "WINDOW", data.draw(st.integers(1, 4)))
    monkeypatch.setattr(listing, "_KEPT", data.draw(st.integers(0, 1)))
    store = LocalStore(tmp_path_factory.mktemp("store"), fsync=False)
    chosen = data.draw(key_sets())
    for key in chosen:
        await put(store, key)
    for _ in range(5):
        whole = data.draw(st.sampled_from([*chosen, ""]))
        prefix = whole[: data.draw(st.integers(0, len(whole)))]
        delimiter = data.draw(st.sampled_from(["", "/"]))
        limit = data.draw(st.integers(1, 6))
        assert await pages(store, prefix, delimiter, limit) == expected(chosen, prefix, delimiter)
    await store.aclose()


async def test_a_token_outlives_the_process(tmp_path: Path) -> None:
    first = LocalStore(tmp_path, fsync=False)
    for number in range(30):
        await put(first, f"d{number // 10}/{number:02}")
    token = (await first.list("", limit=15)).token
    await first.aclose()
    second = LocalStore(tmp_path, fsync=False)
    page = await second.list("", limit=15, token=token)
    assert [info.key for info in page.objects] == [f"d{number // 10}/{number:02}" for number in range(15, 30)]
    await second.aclose()


async def test_deep_trees(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, fsync=False)
    deep = "/".join("a" * 200)
    await put(store, deep + "/x")
    await put(store, "b")
    assert await keys(store, limit=1) == [deep + "/x", "b"]
    await store.delete(Key(deep + "/x"))
    assert await keys(store) == ["b"]
    assert os.listdir(tmp_path / "a") == [] if (tmp_path / "a").exists() else True
    await store.aclose()
