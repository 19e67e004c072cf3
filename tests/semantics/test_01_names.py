"""Chapter 1: names."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.semantics.program import Stored, fails_with

STRANGE = (
    b"line\nbreak",
    b"\n",
    b" blank at both ends ",
    b"...",
    b"-rf",
    b"back\\slash",
    b"%2F%00%",
    b"star*?[a-z]{b,c}",
    b"quotes'\"`$(x)",
    b"control\x01\x1b\x7f",
    "Ünïcödé 漢字 🦆".encode(),
    "\u202eright to left".encode(),
    b"#%&+;=@!,",
    b"conflict~",
    b".hidden",
)


@semantics("S1.1")
def test_a_name_has_at_most_255_bytes(work: Path) -> None:
    for longest in ("x" * 255, "é" * 127 + "x"):
        (work / longest).write_bytes(b"fits")
        assert (work / longest).read_bytes() == b"fits"
    for too_long in ("x" * 256, "é" * 128):
        with fails_with(errno.ENAMETOOLONG):
            (work / too_long).write_bytes(b"")
        with fails_with(errno.ENAMETOOLONG):
            (work / too_long).mkdir()


@semantics("S1.2")
def test_a_name_that_is_not_utf8_is_refused(work: Path) -> None:
    (work / "source").write_bytes(b"")
    for name in (b"\xff", b"latin-\xe9", b"surrogate-\xed\xa0\x80", b"overlong-\xc0\xaf"):
        bad = os.fsencode(work) + b"/" + name
        with fails_with(errno.EILSEQ):
            os.open(bad, os.O_CREAT | os.O_WRONLY)
        with fails_with(errno.EILSEQ):
            os.mkdir(bad)
        with fails_with(errno.EILSEQ):
            os.symlink(b"target", bad)
        with fails_with(errno.EILSEQ):
            os.rename(os.fsencode(work / "source"), bad)
    assert os.listdir(work) == ["source"]


@semantics("S1.3")
def test_every_other_byte_may_be_in_a_name(disk: Mount, work: Path) -> None:
    top = os.fsencode(work)
    for name in STRANGE:
        os.mkdir(top + b"/d-" + name)
        for path in (name, b"d-" + name + b"/" + name):
            with open(top + b"/" + path, "wb") as file:
                file.write(name)
    disk.remount()
    assert sorted(os.listdir(top)) == sorted([*STRANGE, *(b"d-" + name for name in STRANGE)])
    for name in STRANGE:
        assert os.listdir(top + b"/d-" + name) == [name]
        with open(top + b"/d-" + name + b"/" + name, "rb") as file:
            assert file.read() == name


@semantics("S1.4")
def test_names_are_compared_byte_by_byte(disk: Mount, work: Path) -> None:
    names = ["\u00e9", "e\u0301", "readme", "README", "Readme", "\u212b", "\u00c5"]
    for name in names:
        (work / name).write_text(ascii(name))
    disk.remount()
    assert sorted(os.listdir(work)) == sorted(names)
    for name in names:
        assert (work / name).read_text() == ascii(name)


@semantics("S1.5")
def test_a_path_is_as_long_as_its_key_may_be(disk: Mount, work: Path) -> None:
    above = len(f"users/{disk.options.user}/workspace/{work.name}/")
    deep = work
    while above + 201 < 1023 - 10:
        deep = deep / ("d" * 200)
        deep.mkdir()
        above += 201
    longest = deep / ("f" * (1023 - above))
    longest.write_bytes(b"fits")
    assert longest.read_bytes() == b"fits"
    with fails_with(errno.ENAMETOOLONG):
        longest.with_name(longest.name + "f").write_bytes(b"")
    with fails_with(errno.ENAMETOOLONG):
        longest.rename(longest.with_name(longest.name + "f"))
    longest.with_name("g" * (1023 - above)).mkdir()
    with fails_with(errno.ENAMETOOLONG):
        longest.with_name("g" * (1024 - above)).mkdir()
    with fails_with(errno.ENAMETOOLONG):
        longest.with_name(longest.name + "f").symlink_to("target")


@semantics("S1.5")
def test_renaming_a_directory_keeps_the_keys_below_within_the_limit(disk: Mount, work: Path) -> None:
    deep = work / "short"
    while len(str(deep.relative_to(disk.root))) < 800:
        deep = deep / ("d" * 150)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"content")
    with fails_with(errno.ENAMETOOLONG):
        (work / "short").rename(work / ("l" * 200))
    assert (deep / "file").read_bytes() == b"content"


@semantics("S1.6")
def test_a_file_is_an_object_of_the_same_path_and_bytes(work: Path, stored: Stored) -> None:
    (work / "code").mkdir()
    content = bytes(range(256)) * 100
    (work / "code" / "main.py").write_bytes(content)
    place = stored.mount.store_dir / "users" / "u1" / "workspace" / work.name / "code" / "main.py"
    assert place.read_bytes() == content


@semantics("S1.7")
def test_a_directory_is_an_empty_object_with_a_slash(work: Path, stored: Stored) -> None:
    (work / "directory").mkdir()
    assert stored.path(work / "directory").is_dir()
    assert stored.content_type(work / "directory") == "application/x-directory"
