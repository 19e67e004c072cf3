"""Programs that carry trees in and out: what arrives must be what was sent, to the mode, the time and the link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuse.conftest import Disk, long_on_s3
from tests.fuse.tree import make_tree, picture


@pytest.fixture
def source(scratch: Path) -> Path:
    return make_tree(scratch / "source", seed=1)


def test_tar_round_trip(disk: Disk, source: Path) -> None:
    disk.run("tar", "-C", source, "--format=posix", "-cf", disk.path / "in.tar", ".")
    (disk.path / "tree").mkdir()
    disk.run("tar", "-C", disk.path / "tree", "-xpf", disk.path / "in.tar")
    assert picture(disk.path / "tree") == picture(source)
    disk.remount()
    assert picture(disk.path / "tree") == picture(source)
    disk.run("tar", "-C", disk.path / "tree", "--format=posix", "-czf", disk.path / "out.tgz", ".")
    (disk.outside / "back").mkdir()
    disk.run("tar", "-C", disk.outside / "back", "-xpzf", disk.path / "out.tgz")
    assert picture(disk.outside / "back") == picture(source)


def test_rsync_round_trip_and_update(disk: Disk, source: Path) -> None:
    tree = disk.path / "tree"
    disk.run("rsync", "-a", f"{source}/", tree)
    assert picture(tree) == picture(source)
    assert disk.run("rsync", "-ai", "--checksum", f"{source}/", tree) == "", "differences in a second run"

    make_tree(source / "b" / "more", seed=2, files=10)
    (source / "a" / "to-nowhere").unlink()
    for directory in ("a", "b"):
        os.utime(source / directory, (1_700_000_000, 1_700_000_000))
    disk.run("rsync", "-a", "--delete", "--inplace", "--no-whole-file", f"{source}/", tree)
    disk.remount()
    assert picture(tree) == picture(source)
    disk.run("rsync", "-a", f"{tree}/", disk.outside / "back")
    assert picture(disk.outside / "back") == picture(source)


@long_on_s3
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


@long_on_s3
def test_copies_and_moves_of_trees(disk: Disk, source: Path) -> None:
    path = disk.path
    expected = picture(source)
    disk.run("cp", "-a", source, path / "one")
    disk.run("cp", "-a", path / "one", path / "two")
    disk.run("cp", "-al", path / "two", path / "linked")
    disk.run("mv", path / "one", path / "moved")
    (path / "target" / "inner").mkdir(parents=True)
    disk.run("mv", path / "moved", path / "target" / "inner" / "moved")
    assert not (path / "one").exists()
    for tree in ("two", "linked", "target/inner/moved"):
        assert picture(path / tree) == expected, tree
    disk.remount()
    assert sorted(os.listdir(path)) == ["linked", "target", "two"]
    for tree in ("two", "linked", "target/inner/moved"):
        assert picture(path / tree) == expected, tree
    disk.run("rm", "-r", path / "linked", path / "target")
    assert picture(path / "two") == expected


def test_move_across_the_border_of_the_mount(disk: Disk, source: Path) -> None:
    expected = picture(source)
    disk.run("mv", source, disk.path / "in")
    assert not source.exists()
    assert picture(disk.path / "in") == expected
    disk.run("mv", disk.path / "in", disk.outside / "out")
    assert not (disk.path / "in").exists()
    assert picture(disk.outside / "out") == expected
