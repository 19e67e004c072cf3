"""git on the mount: thousands of small files, renames over names, hard links tried first, packs read by mmap."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuse.conftest import Disk

FILES = 300


class Repository:
    """A working copy driven by the real git."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.disk = disk
        self.path = path

    def git(self, *args: str | Path) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
        return self.disk.run("git", *who, "-C", self.path, *args, GIT_CONFIG_GLOBAL="/dev/null")

    def commit_all(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def check(self) -> None:
        assert self.git("status", "--porcelain") == ""
        assert "error" not in self.git("fsck", "--full", "--strict")


def _line(number: int, version: int) -> str:
    return f"module {number}, version {version}\n" * (number % 40 + 1)


def _write(root: Path, numbers: range, version: int) -> None:
    for number in numbers:
        path = root / f"package{number % 12}" / f"module{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(_line(number, version))


@pytest.fixture
def repository(disk: Disk) -> Repository:
    path = disk.path / "project"
    path.mkdir()
    repository = Repository(disk, path)
    repository.git("init", "-q")
    _write(path, range(FILES), version=1)
    repository.commit_all("First")
    return repository


@pytest.mark.parametrize("disk", [pytest.param("native", marks=pytest.mark.long), "s3"], indirect=True)
def test_history_survives_gc_checkout_clone_and_remount(repository: Repository) -> None:
    path, disk = repository.path, repository.disk
    repository.git("checkout", "-q", "-b", "topic")
    _write(path, range(0, FILES, 5), version=2)
    (path / "package3" / "module3.py").unlink()
    repository.git("mv", "package1", "renamed")
    repository.commit_all("Second")
    repository.git("gc", "-q", "--prune=now")
    repository.check()

    repository.git("checkout", "-q", "main")
    assert (path / "package1" / "module1.py").read_text() == _line(1, 1)
    assert not (path / "renamed").exists()
    repository.git("merge", "-q", "topic")
    assert not (path / "package1").exists()
    assert (path / "renamed" / "module25.py").read_text() == _line(25, 2)

    repository.git("clone", "-q", "--local", path, disk.path / "clone")
    clone = Repository(disk, disk.path / "clone")
    clone.check()
    assert clone.git("rev-parse", "HEAD") == repository.git("rev-parse", "HEAD")

    disk.remount()
    for each in (repository, clone):
        each.check()
        assert each.git("rev-list", "--count", "HEAD").strip() == "2"
        assert len(each.git("ls-files").splitlines()) == FILES - 1


@pytest.mark.parametrize("disk", ["native"], indirect=True)
def test_worktree_stash_and_rebase(repository: Repository) -> None:
    path = repository.path
    repository.git("worktree", "add", "-q", repository.disk.path / "second", "-b", "side")
    side = Repository(repository.disk, repository.disk.path / "second")
    (side.path / "package2" / "module2.py").write_text("side\n")
    side.commit_all("Side")
    (path / "package5" / "module5.py").write_text("main\n")
    repository.commit_all("Main")
    (path / "package7" / "module7.py").write_text("not yet\n")
    repository.git("stash", "-q")
    repository.git("rebase", "-q", "side")
    repository.git("stash", "pop", "-q")
    assert (path / "package2" / "module2.py").read_text() == "side\n"
    assert (path / "package7" / "module7.py").read_text() == "not yet\n"
    repository.commit_all("Stashed")
    repository.check()
