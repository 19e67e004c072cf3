"""Attributes beside the bytes: ours come back whole, other programs' are understood, garbage is harmless."""

from __future__ import annotations

import base64
import json
import stat
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfs.errors import AttributesTooBig
from vfs.meta.attrs import NANO, Defaults, content_type, decode, encode, link_text
from vfs.store.base import ObjectInfo, ObjectMeta
from vfs.types import Attr, ETag, Key

MODIFIED = 1_700_000_000 * NANO
DEFAULTS = Defaults(uid=1000, gid=100, umask=0o022)
PLENTY = 1 << 20
KINDS = [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK]

ids = st.integers(0, (1 << 32) - 1)
times = st.integers(-(1 << 40) * NANO + NANO, (1 << 40) * NANO - NANO)
names = st.text(min_size=1, max_size=12)
attrs = st.builds(
    Attr,
    mode=st.builds(int.__or__, st.sampled_from(KINDS), st.integers(0, 0o7777)),
    uid=ids,
    gid=ids,
    size=st.integers(0, 1 << 43),
    mtime_ns=times,
    ctime_ns=times,
    atime_ns=times,
    rdev=ids,
    xattrs=st.dictionaries(names, st.binary(max_size=30), max_size=4),
)


def stored(metadata: dict[str, str], *, directory: bool = False, size: int = 5) -> ObjectInfo:
    key = Key("users/u1/workspace/a" + "/" * directory)
    return ObjectInfo(key, size, ETag("e"), MODIFIED, ObjectMeta(metadata))


def read(directory: bool = False, /, **metadata: str) -> Attr:
    return decode(
        stored({name.replace("_", "-"): text for name, text in metadata.items()}, directory=directory),
        DEFAULTS,
    )


def plain(*, directory: bool = False) -> Attr:
    return DEFAULTS.attr(directory=directory, size=5, time_ns=MODIFIED)


@settings(max_examples=150, deadline=None)
@given(attrs)
def test_all_attributes_come_back(attr: Attr) -> None:
    if attr.is_dir:
        attr = replace(attr, size=0)
    meta = encode(attr, "a", PLENTY)
    for name, value in meta.metadata.items():
        assert name == name.lower()
        assert (name + value).isascii()
        assert value.isprintable()
    info = replace(stored({}, directory=attr.is_dir, size=attr.size), meta=meta)
    assert decode(info, DEFAULTS) == attr


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0"),
        (NANO, "1"),
        (123_456_789, "0.123456789"),
        (1_700_000_000_000_000_001, "1700000000.000000001"),
        (-NANO, "-1"),
        (-1, "-1.999999999"),
    ],
)
def test_a_time_is_seconds_and_nine_digits(time_ns: int, text: str) -> None:
    attr = replace(plain(), mtime_ns=time_ns, ctime_ns=time_ns, atime_ns=time_ns)
    assert encode(attr, "a", PLENTY).metadata["mtime"] == text
    assert read(mtime=text).mtime_ns == time_ns


def test_equal_times_are_stored_once() -> None:
    assert set(encode(plain(), "a", PLENTY).metadata) == {"mode", "uid", "gid", "mtime"}
    later = replace(plain(), atime_ns=MODIFIED + 1)
    assert "atime" in encode(later, "a", PLENTY).metadata


# -- other programs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", [False, True])
def test_an_object_without_metadata_is_ordinary(directory: bool) -> None:
    expected = (stat.S_IFDIR | 0o755) if directory else (stat.S_IFREG | 0o644)
    for meta in (None, ObjectMeta()):
        attr = decode(replace(stored({}, directory=directory), meta=meta), DEFAULTS)
        assert attr == plain(directory=directory)
        assert (attr.mode, attr.uid, attr.gid, attr.mtime_ns) == (expected, 1000, 100, MODIFIED)
        assert attr.size == (0 if directory else 5)


def test_s3fs() -> None:
    xattr = quote(json.dumps({"user.tag": base64.b64encode(b"\0blue").decode()}))
    attr = read(
        mode="33152",
        uid="7",
        gid="8",
        mtime="1500000000.5",
        ctime="1500000001",
        atime="1500000002",
        xattr=xattr,
    )
    assert attr.mode == stat.S_IFREG | 0o600
    assert (attr.uid, attr.gid) == (7, 8)
    assert attr.mtime_ns == 1_500_000_000_500_000_000
    assert (attr.ctime_ns, attr.atime_ns) == (1_500_000_001 * NANO, 1_500_000_002 * NANO)
    assert attr.xattrs == {"user.tag": b"\0blue"}
    assert read(True, mode="16877").mode == stat.S_IFDIR | 0o755
    assert read(mode="41471").mode == stat.S_IFLNK | 0o777


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o770, 0o1777, 0o750, 0])
def test_s3fs_makes_directories_without_their_type(mode: int) -> None:
    assert read(True, mode=str(mode)).mode == stat.S_IFDIR | mode


@pytest.mark.parametrize(
    ("directory", "text", "mode"),
    [
        (False, "100644", stat.S_IFREG | 0o644),
        (False, "104755", stat.S_IFREG | 0o4755),
        (False, "120777", stat.S_IFLNK | 0o777),
        (False, "644", stat.S_IFREG | 0o644),
        (True, "40755", stat.S_IFDIR | 0o755),
        (True, "41777", stat.S_IFDIR | 0o1777),
        (True, "42755", stat.S_IFDIR | 0o2755),
        (True, "43777", stat.S_IFDIR | 0o3777),
    ],
)
def test_rclone_writes_modes_in_octal(directory: bool, text: str, mode: int) -> None:
    assert read(directory, mode=text).mode == mode


def test_rclone_writes_times_as_floats() -> None:
    assert read(mtime="1500000000.123456789").mtime_ns == 1_500_000_000_123_456_789
    assert read(mtime="1500000000.25").mtime_ns == 1_500_000_000_250_000_000
    assert read(mtime="1500000000.12345678912").mtime_ns == 1_500_000_000_123_456_789


def test_aws() -> None:
    attr = read(
        file_permissions="0100664",
        file_owner="500",
        file_group="501",
        file_mtime="1595002920000000001ns",
        file_atime="1595002921000000000ns",
    )
    assert attr.mode == stat.S_IFREG | 0o664
    assert (attr.uid, attr.gid) == (500, 501)
    assert attr.mtime_ns == 1_595_002_920_000_000_001
    assert attr.atime_ns == 1_595_002_921_000_000_000
    assert read(True, file_permissions="0040750").mode == stat.S_IFDIR | 0o750
    assert read(file_permissions="0750").mode == stat.S_IFREG | 0o750


def test_geesefs_keeps_a_link_beside_an_empty_object() -> None:
    info = stored({"--symlink-target": "../na%C3%AFve"}, size=0)
    attr = decode(info, DEFAULTS)
    assert attr.mode == stat.S_IFLNK | 0o777
    assert link_text(info.meta) == "../naïve".encode()
    assert attr.size == len("../naïve".encode())
    assert link_text(ObjectMeta()) is None
    assert link_text(None) is None
    assert decode(stored({"--symlink-target": "x"}, directory=True), DEFAULTS).is_dir


def test_only_a_key_with_a_slash_is_a_directory() -> None:
    assert read(mode="16832").mode == plain().mode, "a decimal directory on a file is no octal number"
    assert read(mode="040700").mode == stat.S_IFREG | 0o700
    assert read(True, mode="0100700").mode == stat.S_IFDIR | 0o700


# -- garbage ---------------------------------------------------------------------------------------------------

FIELDS = ["mode", "uid", "gid", "mtime", "ctime", "atime", "rdev", "xattr", "--symlink-target"]
AWS = ["file-permissions", "file-owner", "file-group", "file-mtime", "file-atime"]
garbage = st.one_of(
    st.text(max_size=30),
    st.integers().map(str),
    st.from_regex(r"-?[0-9_]{1,25}(\.[-0-9]{0,12})?(ns)?", fullmatch=True),
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,  # of hypothesis' own 100 most time goes into making the examples
    )
    .map(json.dumps)
    .map(quote),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS + AWS), garbage), st.booleans())
def test_garbage_never_raises(metadata: dict[str, str], directory: bool) -> None:
    attr = decode(stored(metadata, directory=directory), DEFAULTS)
    assert attr.is_dir == directory
    assert stat.S_IFMT(attr.mode) in KINDS
    assert 0 <= attr.uid < 1 << 32
    assert 0 <= attr.gid < 1 << 32
    encode(attr, "a", 1 << 30)


@pytest.mark.parametrize(
    "text",
    ["", "x", "-33188", "-1", str(1 << 33), str(1 << 70), "9" * 5000, "0x81a4", "999999"],
)
def test_a_mode_that_is_none_counts_as_missing(text: str) -> None:
    assert read(mode=text, uid="1").mode == plain().mode


@pytest.mark.parametrize(
    "text", ["", "ns", "x", ".", "1e9", "nan", "-inf", "9" * 30, "9" * 30 + "ns", "2024-01-01"]
)
def test_a_time_that_is_none_counts_as_missing(text: str) -> None:
    attr = read(mtime=text, ctime=text, uid="1")
    assert (attr.mtime_ns, attr.ctime_ns, attr.atime_ns) == (MODIFIED, MODIFIED, MODIFIED)


@pytest.mark.parametrize(
    "text", ["x", "[" * 2000, "[1]", "{", '{"user.a": 5}', '{"user.a": "%E9"}', '{"user.a": "a"}']
)
def test_extended_attributes_that_are_none_count_as_missing(text: str) -> None:
    assert read(xattr=text).xattrs == {}


# -- what is stored --------------------------------------------------------------------------------------------


def test_attributes_that_do_not_fit_are_refused() -> None:
    attr = replace(plain(), xattrs={"user.big": b"x" * 300})
    meta = encode(attr, "a", PLENTY)
    size = sum(len(name) + len(value) for name, value in meta.metadata.items())
    assert encode(attr, "a", size) == meta
    with pytest.raises(AttributesTooBig, match=f"{size} bytes"):
        encode(attr, "a", size - 1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"),
        ("photo.PNG", "image/png"),
        ("data.json", "application/json"),
        ("a.txt", "text/plain"),
        ("a.txt.gz", "application/gzip"),
        ("a.tar.xz", "application/x-xz"),
        ("page.br", "application/octet-stream"),
        ("Makefile", "application/octet-stream"),
        (".bashrc", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_content_type_comes_from_the_name(name: str, kind: str) -> None:
    assert content_type(plain(), name) == kind
    assert encode(plain(), name, PLENTY).content_type == kind


def test_a_directory_has_the_type_that_others_give_it() -> None:
    assert content_type(plain(directory=True), "a.html") == "application/x-directory"
