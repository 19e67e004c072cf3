"""MiniStack is what the tests take it for: it checks signatures and policies, and keeps keys as they are."""

from __future__ import annotations

import pytest

from tests.servers.client import Refused
from tests.servers.ministack import MiniStack

ODD_KEYS = ("a", "a/", "a/b", "a//b", "a/../b", "..", "../x", "tab\tkey", "blank key+plus%2F", "ü/ö")


def test_keys_are_kept_as_they_are(ministack: MiniStack) -> None:
    client = ministack.server.client
    for key in ODD_KEYS:
        client.put(f"odd/{key}", key.encode(), {"x-amz-meta-mode": "33188", "content-type": "text/x-odd"})
    assert sorted(client.keys("odd/")) == sorted(f"odd/{key}" for key in ODD_KEYS)
    for key in ODD_KEYS:
        answer = client.get(f"odd/{key}")
        assert (answer.body, answer.metadata) == (key.encode(), {"mode": "33188"})
        assert answer.headers["content-type"] == "text/x-odd"


def test_a_listing_has_all_pages(ministack: MiniStack) -> None:
    client = ministack.server.client
    for number in range(1001):
        client.put(f"pages/{number}")
    assert len(client.keys("pages/")) == 1001
    client.clear("pages/")
    assert client.keys("pages/") == []


def test_a_wrong_secret_is_refused(ministack: MiniStack) -> None:
    with pytest.raises(Refused, match="SignatureDoesNotMatch"):
        ministack.with_wrong_secret().client.keys()


def test_a_policy_that_denies_is_obeyed_where_it_says(ministack: MiniStack) -> None:
    ministack.server.client.put("denied/there")
    user = ministack.make_user(deny=["s3:PutObject"], prefix="denied/").client
    with pytest.raises(Refused, match="AccessDenied"):
        user.put("denied/x")
    user.put("elsewhere/x")
    assert user.keys("denied/") == ["denied/there"]


def test_a_policy_may_deny_listings(ministack: MiniStack) -> None:
    with pytest.raises(Refused, match="AccessDenied"):
        ministack.make_user(deny=["s3:ListBucket"]).client.keys()


def test_another_bucket_is_made_when_asked_for(ministack: MiniStack) -> None:
    other = ministack.server.with_bucket("agentfs-other")
    other.client.put("x")
    assert other.with_bucket("agentfs-other").client.keys() == ["x"]
    assert "x" not in set(ministack.server.client.keys())
