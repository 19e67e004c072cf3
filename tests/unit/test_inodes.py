"""The inode table: who is kept, who goes, and under which names."""

from __future__ import annotations

import stat

import pytest

from vfs.core import inodes
from vfs.core.inodes import ROOT, Inode, InodeTable, join
from vfs.errors import NotFound, Stale
from vfs.types import Attr, ETag, Ino

DIRECTORY = Attr(stat.S_IFDIR | 0o755, 0, 0, 0, 0, 0, 0)
FILE = Attr(stat.S_IFREG | 0o644, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def table() -> InodeTable:
    return InodeTable(DIRECTORY)


@pytest.fixture
def work(table: InodeTable) -> Inode:
    return table.remember(table.add(table.root, "workspace", DIRECTORY, ETag("e")))


def add(table: InodeTable, parent: Inode, name: str, attr: Attr = FILE, *, lookups: int = 1) -> Inode:
    return table.remember(table.add(parent, name, attr, ETag("e")), lookups)


def known(table: InodeTable, *candidates: Inode) -> list[bool]:
    return [inode in set(table) for inode in candidates]


def test_the_root_is_number_one_and_has_no_name(table: InodeTable) -> None:
    assert table.get(ROOT) is table.root
    assert table.root.path() == ""
    assert table.root.nlink == 1
    assert join(table.root, "workspace") == "workspace"
    table.check()


def test_numbers_are_never_used_again(table: InodeTable, work: Inode) -> None:
    first = add(table, work, "a")
    table.forget(first.ino, 1)
    second = add(table, work, "a")
    assert second.ino > first.ino
    with pytest.raises(NotFound):
        table.get(first.ino)


def test_a_path_is_made_of_the_names_above(table: InodeTable, work: Inode) -> None:
    inner = add(table, add(table, work, "a", DIRECTORY), "b")
    assert inner.path() == "workspace/a/b"
    assert join(work, "c") == "workspace/c"
    assert [node.ino for node in inner.ancestry()] == [4, 3, 2, 1]
    assert {node.path() for node in work.below()} == {"workspace/a", "workspace/a/b"}


# -- lookup counts ---------------------------------------------------------------------------------------------


def test_an_inode_stays_until_its_last_lookup_is_forgotten(table: InodeTable, work: Inode) -> None:
    file = add(table, work, "a", lookups=3)
    table.forget(file.ino, 2)
    assert table.get(file.ino) is file
    table.forget(file.ino, 1)
    assert known(table, file, work) == [False, True]
    assert "a" not in work.children
    table.check()


def test_statistics_count_inodes_and_lookups(table: InodeTable, work: Inode) -> None:
    file = add(table, work, "a", lookups=3)
    before = table.statistics()
    assert before.inodes == 3
    table.forget(file.ino, 3)
    assert table.statistics().inodes == 2
    assert before.lookups - table.statistics().lookups == 3


def test_to_forget_what_is_not_known_is_nothing(table: InodeTable) -> None:
    table.forget(Ino(99), 1)
    assert table.statistics().inodes == 1


def test_a_directory_stays_for_what_lies_under_it(table: InodeTable, work: Inode) -> None:
    outer = add(table, work, "a", DIRECTORY)
    inner = add(table, outer, "b", DIRECTORY)
    file = add(table, inner, "f")
    table.forget(outer.ino, 1)
    table.forget(inner.ino, 1)
    assert known(table, outer, inner) == [True, True]
    table.forget(file.ino, 1)
    assert known(table, outer, inner, file, work) == [False, False, False, True]
    table.check()


@pytest.mark.parametrize(
    ("field", "value"), [("handles", 1), ("attrs_dirty", True), ("pins", 1), ("moving", True)]
)
def test_an_inode_in_use_outlives_its_lookups(
    table: InodeTable, work: Inode, field: str, value: int | bool
) -> None:
    file = add(table, work, "a")
    setattr(file, field, value)
    table.forget(file.ino, 1)
    assert known(table, file) == [True]
    setattr(file, field, type(value)())
    table.reap(file)
    assert known(table, file) == [False]


# -- names -----------------------------------------------------------------------------------------------------


def test_an_unlinked_inode_lives_on_without_a_path(table: InodeTable, work: Inode) -> None:
    file = add(table, work, "a")
    assert table.unlink(work, "a") is file
    assert (file.nlink, file.parent, file.names) == (0, None, [])
    with pytest.raises(Stale):
        file.path()
    assert "(no name)" in repr(file)
    table.check()
    table.forget(file.ino, 1)
    assert known(table, file, work) == [False, True]


def test_nothing_under_a_removed_directory_has_a_path(table: InodeTable, work: Inode) -> None:
    outer = add(table, work, "a", DIRECTORY)
    file = add(table, outer, "f")
    table.unlink(work, "a")
    assert outer.nlink == 0
    with pytest.raises(Stale):
        file.path()


def test_a_file_has_as_many_links_as_names(table: InodeTable, work: Inode) -> None:
    other = add(table, work, "d", DIRECTORY)
    file = add(table, work, "a")
    table.link(file, other, "b", ETag("b"))
    assert (file.nlink, file.version(work, "a"), file.version(other, "b")) == (2, ETag("e"), ETag("b"))
    assert file.path() == "workspace/a"
    assert {node.ino for node in file.ancestry()} == {file.ino, other.ino, work.ino, ROOT}
    table.unlink(work, "a")
    assert (file.nlink, file.etag, file.path()) == (1, ETag("b"), "workspace/d/b")
    table.check()


def test_a_move_changes_the_paths_of_all_below(table: InodeTable, work: Inode) -> None:
    source, target = add(table, work, "a", DIRECTORY), add(table, work, "b", DIRECTORY)
    file = add(table, source, "f")
    table.move(work, "a", target, "c", None)
    assert file.path() == "workspace/b/c/f"
    assert list(work.children) == ["b"]
    table.check()


def test_a_name_is_given_once(table: InodeTable, work: Inode) -> None:
    add(table, work, "a")
    with pytest.raises(AssertionError, match="taken"):
        add(table, work, "a")


def test_open_listings_hear_of_removed_names(table: InodeTable, work: Inode) -> None:
    gone: set[str] = set()
    work.readers = (gone,)
    for name in "abc":
        add(table, work, name)
    table.unlink(work, "a")
    table.move(work, "b", work, "d", ETag("b"))
    assert gone == {"a", "b"}


def test_the_mount_knows_better_than_the_store(table: InodeTable, work: Inode) -> None:
    assert not add(table, work, "a").busy
    assert table.add(work, "new", FILE, None).busy
    for field in ("handles", "attrs_dirty"):
        file = add(table, work, field)
        setattr(file, field, 1)
        assert file.busy


# -- links that nobody uses ------------------------------------------------------------------------------------


def linked(table: InodeTable, here: Inode, there: Inode, name: str) -> Inode:
    file = add(table, here, name)
    table.link(file, there, name, file.etag)
    return file


def test_a_link_that_nobody_uses_is_kept(table: InodeTable, work: Inode) -> None:
    file = linked(table, work, add(table, work, "d", DIRECTORY), "a")
    table.forget(file.ino, 1)
    assert known(table, file) == [True], "only this table knows that the two names are one file"
    table.check()


def test_the_oldest_idle_links_are_shed(
    table: InodeTable, work: Inode, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = add(table, work, "links", DIRECTORY)
    files = [linked(table, work, other, name) for name in "abcd"]
    for file in reversed(files[1:]):
        table.forget(file.ino, 1)
    assert known(table, *files) == [True] * 4
    monkeypatch.setattr(inodes, "MAX_LINKED", 2)
    table.reap(files[3])
    assert known(table, *files) == [True, False, False, True], "the first is in use, however old"
    assert sorted(other.children) == ["a", "d"]
    table.check()
    table.forget(files[0].ino, 1)
    assert known(table, *files) == [True, False, False, True], "two are not too many"
    assert files[0].nlink == 2


def test_nothing_is_shed_while_all_are_in_use(
    table: InodeTable, work: Inode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inodes, "MAX_LINKED", 1)
    other = add(table, work, "d", DIRECTORY)
    files = [linked(table, work, other, name) for name in "abc"]
    table.reap(files[0])
    assert [file.nlink for file in files] == [2, 2, 2]


def test_shedding_lets_the_other_directories_go(
    table: InodeTable, work: Inode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inodes, "MAX_LINKED", 0)
    other = add(table, work, "d", DIRECTORY)
    file = linked(table, work, other, "a")
    table.forget(other.ino, 1)
    assert known(table, other) == [True]
    table.forget(file.ino, 1)
    assert known(table, file, other, work) == [False, False, True]
    table.check()


def test_what_is_shed_is_still_listed(
    table: InodeTable, work: Inode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inodes, "MAX_LINKED", 0)
    other = add(table, work, "d", DIRECTORY)
    gone: set[str] = set()
    other.readers = (gone,)
    table.forget(linked(table, work, other, "a").ino, 1)
    assert gone == set(), "its object is still in the store"


# -- check -----------------------------------------------------------------------------------------------------


def test_check_sees_what_is_broken(table: InodeTable, work: Inode) -> None:
    directory, file = add(table, work, "d", DIRECTORY), add(table, work, "a")
    table.check()
    file.lookups = -1
    with pytest.raises(AssertionError, match="negative"):
        table.check()
    file.lookups = 1
    work.children["x"] = file
    with pytest.raises(AssertionError, match="does not know its name"):
        table.check()
    del work.children["x"], work.children["a"]
    with pytest.raises(AssertionError, match="not among"):
        table.check()
    work.children["a"] = file
    table.link(directory, work, "d2", None)
    with pytest.raises(AssertionError, match="two names"):
        table.check()
