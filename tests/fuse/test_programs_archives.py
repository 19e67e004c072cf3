"""Programs that carry trees in and out: what arrives must be what was sent, to the mode, the time and the link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuse.conftest import Disk
from tests.fuse.tree import make_tree, picture


@pytest.fixture
def source(scratch: Path) -> Path:
    return make_tree(scratch / "source", seed=1)


def test_tar_round_trip(any_disk: Disk, source: Path) -> None:
    any_disk.run("tar", "-C", source, "--format=posix", "-cf", any_disk.path / "in.tar", ".")
    (any_disk.path / "tree").mkdir()
    any_disk.run("tar", "-C", any_disk.path / "tree", "-xpf", any_disk.path / "in.tar")
    assert picture(any_disk.path / "tree") == picture(source)
    any_disk.remount()
    assert picture(any_disk.path / "tree") == picture(source)
    any_disk.run(
        "tar", "-C", any_disk.path / "tree", "--format=posix", "-czf", any_disk.path / "out.tgz", "."
    )
    (any_disk.outside / "back").mkdir()
    any_disk.run("tar", "-C", any_disk.outside / "back", "-xpzf", any_disk.path / "out.tgz")
    assert picture(any_disk.outside / "back") == picture(source)


def test_rsync_round_trip_and_update(any_disk: Disk, source: Path) -> None:
    tree = any_disk.path / "tree"
    any_disk.run("rsync", "-a", f"{source}/", tree)
    assert picture(tree) == picture(source)
    assert any_disk.run("rsync", "-ai", "--checksum", f"{source}/", tree) == "", "differences in a second run"

    make_tree(source / "b" / "more", seed=2, files=10)
    (source / "a" / "to-nowhere").unlink()
    for directory in ("a", "b"):
        os.utime(source / directory, (1_700_000_000, 1_700_000_000))
    any_disk.run("rsync", "-a", "--delete", "--inplace", "--no-whole-file", f"{source}/", tree)
    any_disk.remount()
    assert picture(tree) == picture(source)
    any_disk.run("rsync", "-a", f"{tree}/", any_disk.outside / "back")
    assert picture(any_disk.outside / "back") == picture(source)


def test_zip_and_unzip(disk: Disk, source: Path) -> None:
    disk.run("zip", "-qry", disk.path / "tree.zip", ".", cwd=source)
    disk.run("unzip", "-q", disk.path / "tree.zip", "-d", disk.path / "tree")
    theirs, ours = picture(source, seconds=True), picture(disk.path / "tree", seconds=True)
    assert {name: node.content for name, node in ours.items()} == {
        name: node.content for name, node in theirs.items()
    }
    (disk.path / "later").write_bytes(b"x" * 100_000)
    disk.run("zip", "-q", disk.path / "tree.zip", "later")
    disk.remount()
    assert "No errors detected" in disk.run("unzip", "-t", disk.path / "tree.zip")


def test_copies_and_moves_of_trees(any_disk: Disk, source: Path) -> None:
    path = any_disk.path
    expected = picture(source)
    any_disk.run("cp", "-a", source, path / "one")
    any_disk.run("cp", "-a", path / "one", path / "two")
    any_disk.run("cp", "-al", path / "two", path / "linked")
    any_disk.run("mv", path / "one", path / "moved")
    (path / "target" / "inner").mkdir(parents=True)
    any_disk.run("mv", path / "moved", path / "target" / "inner" / "moved")
    assert not (path / "one").exists()
    for tree in ("two", "linked", "target/inner/moved"):
        assert picture(path / tree) == expected, tree
    any_disk.remount()
    assert sorted(os.listdir(path)) == ["linked", "target", "two"]
    for tree in ("two", "linked", "target/inner/moved"):
        assert picture(path / tree) == expected, tree
    any_disk.run("rm", "-r", path / "linked", path / "target")
    assert picture(path / "two") == expected


def test_move_across_the_border_of_the_mount(disk: Disk, source: Path) -> None:
    expected = picture(source)
    disk.run("mv", source, disk.path / "in")
    assert not source.exists()
    assert picture(disk.path / "in") == expected
    disk.run("mv", disk.path / "in", disk.outside / "out")
    assert not (disk.path / "in").exists()
    assert picture(disk.outside / "out") == expected
