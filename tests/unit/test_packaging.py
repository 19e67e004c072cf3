"""What is installed, shipped and written down agrees with the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())


def locked(name: str) -> dict[str, str]:
    """Versions by distribution in one lock file; every one of them has a hash."""
    text = (PROJECT / "requirements" / f"{name}.txt").read_text()
    entries = re.findall(r"^([a-z0-9_.-]+)==(\S+)([^\n]*(?:\n +--hash=[^\n]+)*)", text, re.MULTILINE)
    assert all("--hash=sha256:" in rest for _, _, rest in entries)
    return {canonicalize_name(dist): version for dist, version, _ in entries}


def wanted(project: dict[str, Any], name: str) -> list[Requirement]:
    lines = project["project"]["dependencies"] if name == "run" else project["dependency-groups"][name]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", ["run", "build", "dev"])
def test_the_lock_holds_what_pyproject_asks_for(pyproject: dict[str, Any], name: str) -> None:
    versions = locked(name)
    wrong = {
        str(requirement): versions.get(canonicalize_name(requirement.name))
        for requirement in wanted(pyproject, name)
        if versions.get(canonicalize_name(requirement.name)) not in requirement.specifier
    }
    assert not wrong, "run `make lock`"


def test_the_locks_agree_with_each_other() -> None:
    run, build, dev = locked("run"), locked("build"), locked("dev")
    for one, other in ((run, build), (run, dev), (build, dev)):
        assert {dist: one[dist] for dist in one.keys() & other} == {
            dist: other[dist] for dist in one.keys() & other
        }


def test_every_dependency_has_a_ceiling_or_counts_by_year(pyproject: dict[str, Any]) -> None:
    """A new major version may break us; versions that are years (structlog, stubs) say nothing of that."""
    by_year = {"structlog", "types-cachetools", "setuptools", "setuptools-scm"}
    names = ("run", "build", "dev")
    open_ended = {str(req) for name in names for req in wanted(pyproject, name) if "<" not in str(req)}
    assert {Requirement(line).name for line in open_ended} <= by_year


def test_the_image_copies_what_exists() -> None:
    lines = [
        line.split() for line in (PROJECT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")
    ]
    copied = {source for line in lines if not line[1].startswith("--from") for source in line[1:-1]}
    assert {"vfs", "mount.py", "pyproject.toml"} <= copied
    assert not {source for source in copied if not (PROJECT / source).exists()}
    let_in = {
        line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert {source.split("/")[0] for source in copied} == let_in


def test_the_changelog_knows_this_version(pyproject: dict[str, Any]) -> None:
    newest = re.search(r"^## \[([^]]+)\]", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == pyproject["project"]["version"]


def test_the_licence_is_the_one_declared(pyproject: dict[str, Any]) -> None:
    assert pyproject["project"]["license"] == "Apache-2.0"
    text = " ".join((PROJECT / "LICENSE").read_text().split())
    assert text.startswith("Apache License Version 2.0, January 2004")


def test_links_between_the_documents_lead_somewhere() -> None:
    documents = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    broken = [
        f"{document.relative_to(PROJECT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert not broken
