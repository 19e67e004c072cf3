"""Keys in the bucket: prefix, and the encoding for stores that restrict them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.errors import KeyRefused
from vfs.store.s3.keys import Keys, fits_xml

ALLOWED = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]*")
"""Supabase Storage, storage/src/storage/limits.ts."""

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def test_plain_keys_are_themselves() -> None:
    keys = Keys("pre/")
    assert keys.stored("a/ü!") == "pre/a/ü!"
    assert keys.mounted("pre/a/ü!") == "a/ü!"
    assert keys.stored_prefix("") == "pre/"


def test_what_is_restricted() -> None:
    keys = Keys("pre/", restricted=True)
    assert keys.stored("users/u@x+1/workspace/a b.txt") == "pre/users/u@x+1/workspace/a b.txt"
    assert keys.stored("ü") == "pre/!c3!bc"
    assert keys.stored("a!b#c") == "pre/a!21b!23c"
    assert keys.stored("日/\U0001f600") == "pre/!e6!97!a5/!f0!9f!98!80"


@given(texts)
def test_every_key_comes_back(key: str) -> None:
    keys = Keys(restricted=True)
    stored = keys.stored(key)
    assert ALLOWED.fullmatch(stored)
    assert keys.mounted(stored) == key
    assert keys.size(key) == len(stored)


@given(texts, texts)
def test_prefixes_stay_prefixes(key: str, rest: str) -> None:
    keys = Keys(restricted=True)
    assert keys.stored(key + rest).startswith(keys.stored_prefix(key))
    assert keys.stored_prefix(key) != keys.stored_prefix(rest) or key == rest


@pytest.mark.parametrize(
    "stored", ["a!", "a!2", "a!zz", "a!C3!BC", "!c3", "!61", "!2f", "ü", "a#b", "!ff!fe"]
)
def test_what_others_wrote_and_no_key_becomes(stored: str) -> None:
    assert Keys("p/", restricted=True).mounted("p/" + stored) is None


def test_the_longest_key() -> None:
    plain, restricted = Keys("p/"), Keys("p/", restricted=True)
    assert plain.longest == restricted.longest == 1022
    plain.stored("ü" * 511)
    restricted.stored("a" * 1022)
    restricted.stored("ü" * 170)
    for keys, key in ((plain, "ü" * 512), (restricted, "ü" * 171), (plain, ""), (restricted, "")):
        with pytest.raises(KeyRefused):
            keys.stored(key)


def test_what_xml_can_carry() -> None:
    assert all(fits_xml(key) for key in ("a", "a\tb\nc\rd", "<&>", "ü日\U0001f600", "\x7f\x85"))
    assert not any(fits_xml(key) for key in ("\0", "a\x01", "\x0b", "\x1f", "\ufffe", "x\uffff"))
