"""The document and the tests speak of the same sentences."""

from __future__ import annotations

from tests.semantics.document import SENTENCES, chapters, quoted_numbers


def test_every_sentence_is_quoted_by_a_test() -> None:
    quoted = {number for number, _ in quoted_numbers()}
    assert sorted(set(SENTENCES) - quoted) == []


def test_every_quotation_is_in_the_document() -> None:
    assert [(number, module) for number, module in quoted_numbers() if number not in SENTENCES] == []


def test_numbers_count_up_within_numbered_chapters() -> None:
    expected = []
    for chapter in chapters():
        count = sum(number.startswith(f"S{chapter}.") for number in SENTENCES)
        assert count, f"chapter {chapter} says nothing"
        expected += [f"S{chapter}.{i}" for i in range(1, count + 1)]
    assert list(SENTENCES) == expected
    assert list(chapters()) == list(range(1, len(chapters()) + 1))
