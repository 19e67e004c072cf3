"""Times and ETags, as the many stores write them."""

from __future__ import annotations

import pytest

from vfs.store.s3.answers import described, etag, moment, ns, whole_size
from vfs.types import Key


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T06:47:01.987Z",
        "2026-11-21T06:47:01Z",
        "2026-11-21T07:47:01+01:00",
        "2026-11-21T06:47:01.987654",
        "Sat, 21 Nov 2026 06:47:01 GMT",
        "Sat, 21 Nov 2026 07:47:01 +0100",
    ],
)
def test_times(text: str) -> None:
    """To the second: listings and HEAD must tell the same."""
    assert ns(moment(text)) == 1_795_243_621 * 10**9


@pytest.mark.parametrize("text", ["", "soon", "Sat, 99 Foo", "0000-00-00"])
def test_what_is_no_time(text: str) -> None:
    assert ns(moment(text)) == 0
    assert ns(None) == 0


@pytest.mark.parametrize("text", ['"abc-2"', "abc-2", 'W/"abc-2"'])
def test_etags(text: str) -> None:
    assert etag(text) == "abc-2"


def test_sizes() -> None:
    assert whole_size({"ContentRange": "bytes 5-9/10", "ContentLength": 5}) == 10
    assert whole_size({"ContentLength": 7}) == 7
    assert whole_size({"ContentRange": "bytes 5-9/*", "ContentLength": 5}) == 5


@pytest.mark.parametrize(
    ("told", "hashed"),
    [
        ({}, True),
        ({"ServerSideEncryption": "AES256"}, True),
        ({"ServerSideEncryption": "aws:kms"}, False),
        ({"ServerSideEncryption": "aws:kms:dsse"}, False),
        ({"SSECustomerAlgorithm": "AES256"}, False),
    ],
)
def test_an_etag_under_kms_is_no_hash(told: dict[str, str], hashed: bool) -> None:
    assert described(Key("k"), {"ETag": '"0123"', **told}).hashed == hashed
