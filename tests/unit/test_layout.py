"""Which key is whose: no path, name or user id leaves the user's prefix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.errors import ConfigError, NameNotText, NameTooLong, NotPermitted
from vfs.layout import NAME_MAX, ROOTS, Layout, check_user, decode_name
from vfs.types import Key

LAYOUT = Layout("u1")
names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


def test_one_file_is_one_object() -> None:
    assert ROOTS == ("workspace", "memory")
    assert LAYOUT.prefix == "users/u1/"
    assert LAYOUT.file_key("workspace/a/b") == "users/u1/workspace/a/b"
    assert LAYOUT.dir_key("workspace/a") == "users/u1/workspace/a/"
    assert LAYOUT.dir_key("") == LAYOUT.prefix
    assert LAYOUT.private_key("orphans", "7") == "users/u1/.agentfs/orphans/7"


@given(paths)
def test_a_path_comes_back_from_its_keys(path: str) -> None:
    assert LAYOUT.path(LAYOUT.file_key(path)) == path
    assert LAYOUT.path(LAYOUT.dir_key(path)) == path
    assert LAYOUT.dir_key(path).startswith(LAYOUT.prefix)


@pytest.mark.parametrize("key", ["users/u2/workspace/a", "users/u10/a", "users/u1", "other", ""])
def test_keys_of_others_are_refused(key: str) -> None:
    with pytest.raises(NotPermitted):
        LAYOUT.path(Key(key))


def test_no_path_of_the_mount_is_private() -> None:
    private = LAYOUT.private_key("x")
    assert not any(private.startswith(LAYOUT.dir_key(root)) for root in ROOTS)


def test_a_key_is_measured_in_bytes_of_utf8() -> None:
    layout = Layout("u1", max_key=20)
    room = 20 - len(layout.prefix)
    assert layout.file_key("é" * (room // 2)).endswith("é")
    assert len(layout.dir_key("a" * (room - 1))) == 20
    for build in (layout.file_key, layout.dir_key, layout.private_key):
        with pytest.raises(NameTooLong, match="limit is 20"):
            build("é" * (room // 2 + 1))
    with pytest.raises(NameTooLong):
        layout.dir_key("a" * room)


@pytest.mark.parametrize("user", ["u1", "A", "7", "a.b", "a_b-c", "me@example.org", "a+b", "x" * 128])
def test_user_ids(user: str) -> None:
    assert check_user(user) == user


@pytest.mark.parametrize(
    "user",
    [
        "",
        ".",
        "..",
        "a..b",
        "../u2",
        "a/b",
        "/a",
        ".a",
        "-a",
        "_a",
        "@a",
        "a b",
        "a\n",
        "a\0",
        "é",
        "x" * 129,
        "a%2f",
    ],
)
def test_user_ids_that_are_refused(user: str) -> None:
    with pytest.raises(ConfigError, match="user id"):
        check_user(user)


def test_names() -> None:
    assert decode_name("naïve ☃".encode()) == "naïve ☃"
    assert decode_name(b"x" * NAME_MAX) == "x" * NAME_MAX
    with pytest.raises(NameTooLong, match="256 bytes"):
        decode_name("é".encode() * 128)
    for name in (b"\xff", b"caf\xe9", b"\xed\xb2\x80", b"\xc0\xaf"):
        with pytest.raises(NameNotText):
            decode_name(name)
