"""The house rules that a program can check (CONTRIBUTING.md); the linters in `make check` hold the others."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROOTS = ("mount.py", "vfs", "tests", "bench")
MOST_LINES = 400
MOST_FUNCTION_LINES = 50
NO_NOUNS = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}


def sources(*roots: str) -> list[Path]:
    found: list[Path] = []
    for root in roots or ROOTS:
        path = PROJECT / root
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@functools.cache
def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_there_is_something_to_check() -> None:
    assert len(sources("vfs")) > 30


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in sources()}
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in sources()
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > MOST_FUNCTION_LINES
    ]
    assert not long


def test_every_file_is_named_after_what_it_holds() -> None:
    assert not [name_of(path) for path in sources() if path.stem.lower() in NO_NOUNS]


def test_every_module_says_what_it_is_for() -> None:
    files = [path for path in sources("mount.py", "vfs") if path.read_text().strip()]
    assert not [name_of(path) for path in files if not ast.get_docstring(ast.parse(path.read_text()))]


def swallows(handler: ast.ExceptHandler) -> bool:
    """Catches everything and does not pass it on."""
    everything = handler.type is None or ast.unparse(handler.type) in {"Exception", "BaseException"}
    last = handler.body[-1]
    return everything and not (isinstance(last, ast.Raise) and last.exc is None)


def test_only_the_two_fences_swallow_everything() -> None:
    """One stands around requests, the other around tasks that no request waits for."""
    found = {
        name_of(path)
        for path in sources("mount.py", "vfs")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    }
    assert found <= {"vfs/fuse/fence.py", "vfs/core/background.py"}


@pytest.mark.parametrize(
    ("module", "home"),
    [
        ("pyfuse3", "vfs/fuse/"),
        ("aiobotocore", "vfs/store/"),
        ("botocore", "vfs/store/"),
        ("redis", "vfs/meta/"),
    ],
)
def test_foreign_libraries_stay_in_one_package(module: str, home: str) -> None:
    users = [name_of(path) for path in sources("mount.py", "vfs") if module in imported(path)]
    assert not [name for name in users if not name.startswith(home)]


def test_nothing_sleeps_in_unit_tests() -> None:
    """Time that passes on the wall makes tests slow and their outcome a matter of luck."""
    asleep = re.compile(r"\btime\.sleep\(")
    files = sources("tests/unit", "tests/contract")
    assert not [name_of(path) for path in files if path != Path(__file__) and asleep.search(path.read_text())]


def test_the_map_shows_every_package() -> None:
    text = (PROJECT / "docs" / "ARCHITECTURE.md").read_text()
    packages = [path.parent.name for path in sources("vfs") if path.parent.parent == PROJECT / "vfs"]
    assert not {name for name in packages if f"vfs/{name}/" not in text}
