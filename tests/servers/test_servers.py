"""The S3 servers are what the tests take them for: they check signatures and policies, and keep keys as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.servers.client import Refused
from tests.servers.given import given
from tests.servers.ministack import MiniStack
from tests.servers.server import Server, installed
from tests.servers.swift import Swift

ODD_KEYS = ("a", "a/", "a/b", "a//b", "a/../b", "..", "../x", "tab\tkey", "blank key+plus%2F", "ü/ö")

SERVERS: dict[str, Callable[[pytest.FixtureRequest], Server]] = {
    "ministack": lambda request: request.getfixturevalue("ministack").server,
    "swift": lambda request: request.getfixturevalue("swift").server,
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param](request)


def test_keys_are_kept_as_they_are(server: Server) -> None:
    client = server.client
    for key in ODD_KEYS:
        client.put(f"odd/{key}", key.encode(), {"x-amz-meta-mode": "33188", "content-type": "text/x-odd"})
    assert sorted(client.keys("odd/")) == sorted(f"odd/{key}" for key in ODD_KEYS)
    for key in ODD_KEYS:
        answer = client.get(f"odd/{key}")
        assert (answer.body, answer.metadata) == (key.encode(), {"mode": "33188"})
        assert answer.headers["content-type"] == "text/x-odd"


def test_a_listing_has_all_pages(server: Server) -> None:
    client = server.client
    keys = [f"pages/{number}" for number in range(10)]
    for key in keys:
        client.put(key)
    assert [entry.key for entry in client.listing("pages/", page_size=3)] == keys
    client.clear("pages/")
    assert client.keys("pages/") == []


def test_a_copy_takes_content_and_metadata_along(server: Server) -> None:
    server.client.put("copies/one ö", b"content", {"x-amz-meta-mode": "33188"})
    server.client.copy("copies/one ö", "copies/two")
    answer = server.client.get("copies/two")
    assert (answer.body, answer.metadata) == (b"content", {"mode": "33188"})


def test_a_wrong_secret_is_refused(server: Server) -> None:
    with pytest.raises(Refused, match="SignatureDoesNotMatch"):
        replace(server, secret_key="x" * 40).client.keys()


def test_another_bucket_is_made_when_asked_for(server: Server) -> None:
    other = server.with_bucket("agentfs-other")
    other.client.put("x")
    assert other.with_bucket("agentfs-other").client.keys() == ["x"]
    assert "x" not in set(server.client.keys())


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


def test_swift_refuses_a_stranger(swift: Swift) -> None:
    with pytest.raises(Refused, match="AccessDenied"):
        swift.stranger.client.keys()


def test_swift_keeps_its_data_while_it_is_stopped(swift: Swift) -> None:
    swift.server.client.put("kept", b"kept")
    swift.stop()
    with pytest.raises(ConnectionRefusedError):
        swift.server.client.get("kept")
    swift.start()
    assert swift.server.client.get("kept").body == b"kept"


def test_a_server_that_is_named_needs_its_keys(monkeypatch: pytest.MonkeyPatch, s3: Server) -> None:
    monkeypatch.setenv("AGENTFS_TEST_S3", s3.endpoint)
    monkeypatch.setenv("AGENTFS_TEST_S3_BUCKET", "agentfs-named")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(AssertionError, match="AWS_SECRET_ACCESS_KEY must be set"):
        given.__wrapped__()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    named = given.__wrapped__()
    assert named == replace(s3, bucket="agentfs-named", region="us-east-1")
    assert named.client.keys() == []


def test_a_server_that_is_missing_fails_the_test_and_says_how_to_get_it() -> None:
    with pytest.raises(AssertionError, match=r"missing/bin/server is missing; run: make servers"):
        installed("missing/bin/server")
