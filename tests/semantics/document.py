"""docs/SEMANTICS.md as data, and the decorator by which a test quotes it.

    @semantics("S3.7")
    def test_empty_files_persist(...): ...

A test that fails shows the sentence it stands for. Numbers that do not exist fail at import; sentences that
nobody quotes fail in `test_document.py`.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "docs" / "SEMANTICS.md"

_SENTENCE = re.compile(r"^- \*\*(S\d+\.\d+)\*\* (.+?)(?=^- |^#|^$|\Z)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)

P = ParamSpec("P")
R = TypeVar("R")


def sentences() -> dict[str, str]:
    """Number -> sentence, in the document's order. Raises AssertionError for a number used twice."""
    found: dict[str, str] = {}
    for number, text in _SENTENCE.findall(DOCUMENT.read_text()):
        assert number not in found, f"{number} is there twice"
        found[number] = " ".join(text.split())
    return found


def chapters() -> dict[int, str]:
    return {int(number): title for number, title in _HEADING.findall(DOCUMENT.read_text())}


SENTENCES = sentences()


def semantics(*numbers: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The decorated test holds the mount to these sentences."""
    quoted = [f"{number} {SENTENCES[number]}" for number in numbers]

    def decorate(test: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(test)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return test(*args, **kwargs)
            except BaseException as error:
                for sentence in quoted:
                    error.add_note(sentence)
                raise

        return wrapped

    return decorate


def quoted_numbers() -> Iterator[tuple[str, str]]:
    """(number, module) of every quotation in the tests, read from the sources."""
    for path in sorted(HERE.parent.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="semantics"), args=arguments):
                    yield from ((ast.literal_eval(argument), path.name) for argument in arguments)
