"""Listings: S3's order, prefixes and pages, compared with a model that is too simple to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.stores import BARE, LOCAL, META, ORDERS, Order, keys, put
from vfs.errors import ObjectNotFound
from vfs.store.base import ObjectStore
from vfs.types import Key

NAMES = ["a", "a-", "a.", "a0", "aa", "b", "A", "é", "日", "a\n", "~", "a b", "\U0001f600", "\uffff"]
"""Neighbours of "/" in the order of bytes, and characters whose UTF-16 order is another one."""


@st.composite
def key_sets(draw: st.DrawFn) -> list[str]:
    """Keys of files and markers, none of which is a file where another needs a directory."""
    name = st.sampled_from(NAMES)
    paths = draw(st.lists(st.tuples(st.lists(name, min_size=1, max_size=4), st.booleans()), max_size=25))
    files: set[str] = set()
    directories: set[str] = set()
    chosen: set[str] = set()
    for parts, marker in paths:
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        path = "/".join(parts)
        if above & files or (path in files if marker else path in directories):
            continue
        directories |= above
        (directories if marker else files).add(path)
        chosen.add(path + "/" if marker else path)
    return sorted(chosen)


def expected(
    chosen: list[str], prefix: str, delimiter: str, order: Order = str.encode
) -> tuple[list[str], list[str]]:
    """Objects and rolled-up prefixes, as the S3 documentation defines them."""
    objects, prefixes = [], []
    for key in sorted(chosen, key=order):
        rest = key[len(prefix) :]
        if not key.startswith(prefix):
            continue
        if delimiter and delimiter in rest:
            rolled = prefix + rest[: rest.index(delimiter) + 1]
            if rolled not in prefixes:
                prefixes.append(rolled)
        else:
            objects.append(key)
    return objects, prefixes


async def pages(
    store: ObjectStore, prefix: str, delimiter: str, limit: int, order: Order = str.encode
) -> tuple[list[str], list[str]]:
    objects: list[str] = []
    prefixes: list[str] = []
    token = None
    last = ""
    while True:
        page = await store.list(prefix, delimiter=delimiter, token=token, limit=limit)
        names = sorted([*(info.key for info in page.objects), *page.prefixes], key=order)
        assert len(names) <= limit
        assert not names or order(last) < order(names[0]), "pages are in order and do not overlap"
        assert page.token is None or len(names) == limit, "only the last page may be short"
        objects += [info.key for info in page.objects]
        prefixes += page.prefixes
        if page.token is None:
            return objects, prefixes
        last, token = names[-1], page.token


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
async def test_lists_as_the_model_does(
    maker: str, make_store: Callable[[], ObjectStore], data: st.DataObject
) -> None:
    async with aclosing(make_store()) as store:
        await compare_with_the_model(store, data, ORDERS.get(maker, str.encode))


async def compare_with_the_model(store: ObjectStore, data: st.DataObject, order: Order) -> None:
    chosen = data.draw(key_sets())
    for key in chosen:
        await put(store, key)
    gone = data.draw(st.sets(st.sampled_from(chosen))) if chosen else set()
    for stage in (chosen, sorted(set(chosen) - gone)):
        for _ in range(4):
            whole = data.draw(st.sampled_from([*chosen, "users/absent", ""]))
            prefix = whole[: data.draw(st.integers(0, len(whole)))]
            delimiter = data.draw(st.sampled_from(["", "/"]))
            limit = data.draw(st.integers(1, 8))
            objects, prefixes = await pages(store, prefix, delimiter, limit, order)
            wanted, rolled = expected(stage, prefix, delimiter, order)
            if delimiter and prefix not in objects and prefix in wanted:
                wanted.remove(prefix)
            assert (objects, prefixes) == (wanted, rolled)
        if stage is chosen:
            await store.delete_many([Key(key) for key in gone])


async def test_directories_sort_with_their_slash(store: ObjectStore) -> None:
    for key in ("d/x", "d-a", "d.b", "d0", "d", "da"):
        if key != "d":
            await put(store, f"p/{key}")
    assert await keys(store, "p/d") == ["p/d-a", "p/d.b", "p/d/x", "p/d0", "p/da"]
    page = await store.list("p/d", delimiter="/", limit=3)
    assert ([info.key for info in page.objects], page.prefixes) == (["p/d-a", "p/d.b"], ["p/d/"])
    page = await store.list("p/d", delimiter="/", limit=3, token=page.token)
    assert ([info.key for info in page.objects], page.prefixes) == (["p/d0", "p/da"], [])


async def test_a_marker_is_an_object_in_its_own_listing(store: ObjectStore) -> None:
    await put(store, "dir/", b"", META)
    await put(store, "dir/sub/", b"", META)
    await put(store, "dir/x")
    page = await store.list("dir/", delimiter="/")
    assert [info.key for info in page.objects if info.key != "dir/"] == ["dir/x"]
    assert page.prefixes == ["dir/sub/"]
    page = await store.list("", delimiter="/")
    assert ([info.key for info in page.objects], page.prefixes) == ([], ["dir/"])
    page = await store.list("dir", delimiter="/")
    assert ([info.key for info in page.objects], page.prefixes) == ([], ["dir/"])
    assert await keys(store, "dir/") == ["dir/", "dir/sub/", "dir/x"]


@pytest.mark.parametrize(
    "prefix",
    [
        "absent",
        "absent/",
        "a/b/c/",
        "file/",
        "file/x",
        "//",
        "/",
        "../",
        "a/../",
        "./",
        "\0",
        "x" * 300 + "/",
    ],
)
async def test_unknown_prefixes_are_empty(store: ObjectStore, prefix: str) -> None:
    await put(store, "file", b"x")
    for delimiter in ("", "/"):
        page = await store.list(prefix, delimiter=delimiter)
        assert (list(page.objects), list(page.prefixes), page.token) == ([], [], None)


async def test_listings_tell_what_head_tells(store: ObjectStore) -> None:
    await put(store, "dir/", b"", META)
    await put(store, "dir/x", b"content", META)
    await put(store, "dir/y", b"", BARE)
    for info in (await store.list("dir/", delimiter="/")).objects:
        head = await store.head(info.key)
        assert (info.etag, info.size, info.modified_ns) == (head.etag, head.size, head.modified_ns)
        assert info.meta == (head.meta if store.capabilities.list_metadata else None)


async def test_every_version_shows_in_the_next_listing(store: ObjectStore) -> None:
    for number in range(5):
        stored = await put(store, "k", b"x" * number)
        (listed,) = (await store.list("")).objects
        assert (listed.etag, listed.size) == (stored.etag, number)


async def test_a_listing_goes_on_while_keys_come_and_go(store: ObjectStore) -> None:
    names = [f"d/{number:03}" for number in range(60)]
    for name in names:
        await put(store, name)
    page = await store.list("d/", delimiter="/", limit=20)
    seen = [str(info.key) for info in page.objects]
    for name in names[10:30]:
        await store.delete(Key(name))
    await put(store, "d/000a")
    while page.token is not None:
        page = await store.list("d/", delimiter="/", limit=20, token=page.token)
        seen += [info.key for info in page.objects]
    assert seen == names[:20] + names[30:]


async def test_a_token_can_be_used_again(store: ObjectStore) -> None:
    """A page whose answer was lost is asked for once more."""
    for number in range(30):
        await put(store, f"d/{number:02}")
    first = await store.list("d/", limit=10)
    second = await store.list("d/", limit=10, token=first.token)
    again = await store.list("d/", limit=10, token=first.token)
    assert list(again.objects) == list(second.objects)
    assert [info.key for info in again.objects] == [f"d/{number}" for number in range(10, 20)]


async def test_many_listings_at_once(store: ObjectStore) -> None:
    for number in range(12):
        await put(store, f"d/{number:02}")
    tokens = [(await store.list("d/", limit=5)).token for _ in range(10)]
    for token in tokens:
        page = await store.list("d/", limit=5, token=token)
        assert [info.key for info in page.objects] == [f"d/{number:02}" for number in range(5, 10)]


@pytest.mark.stores("memory", *LOCAL)
async def test_pages_have_at_most_a_thousand(store: ObjectStore) -> None:
    for number in range(1003):
        await put(store, f"d/{number:04}")
    page = await store.list("d/", limit=5000)
    assert len(page.objects) == 1000
    assert [info.key for info in (await store.list("d/", token=page.token)).objects] == [
        "d/1000",
        "d/1001",
        "d/1002",
    ]
    with pytest.raises(ObjectNotFound):
        await store.head(Key("d/"))
