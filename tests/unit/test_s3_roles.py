"""Credentials that somebody else hands out: STS, a container, an instance, a program. All of it on trio."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.wire import Reply, Seen, store_on, wire
from vfs.store.base import ObjectMeta
from vfs.types import Key

HANDED = {
    "AccessKeyId": "HANDED",
    "SecretAccessKey": "s",
    "Token": "the-token",
    "Expiration": "2099-01-01T00:00:00Z",
    "Code": "Success",
}

STS = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result><Credentials>
<AccessKeyId>HANDED</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>the-token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{0}Result></{0}Response>"""


@pytest.fixture(autouse=True)
def nothing_else(s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


async def check(options: str = "") -> None:
    """The store signs with what was handed out."""
    async with store_on(lambda seen: Reply(headers={"etag": '"e"'}), options) as (store, served):
        await store.put(Key("k"), [b"x"], ObjectMeta())
        await store.put(Key("k"), [b"y"], ObjectMeta())
    for request in served.requests:
        assert "Credential=HANDED/" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == "the-token"


async def test_assumed_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile worker]\nrole_arn = arn:aws:iam::1:role/worker\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = s\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    async with wire(lambda seen: Reply(body=STS.format("AssumeRole").encode())) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint)
        await check("&profile=worker")
    (request,) = sts.requests
    assert b"Action=AssumeRole&" in request.body
    assert "Credential=BASE/" in request.headers["authorization"]


async def test_web_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("from-the-cluster")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/worker")
    async with wire(lambda seen: Reply(body=STS.format("AssumeRoleWithWebIdentity").encode())) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint)
        await check()
    (request,) = sts.requests
    assert b"WebIdentityToken=from-the-cluster" in request.body


async def test_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire(lambda seen: Reply(body=json.dumps(HANDED).encode())) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.endpoint}/creds")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me")
        await check()
    (request,) = agent.requests
    assert request.headers["authorization"] == "let-me"


async def test_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata(seen: Seen) -> Reply:
        if seen.method == "PUT":
            return Reply(body=b"session")
        if seen.target.endswith("security-credentials/"):
            return Reply(body=b"role-of-the-instance")
        return Reply(body=json.dumps(HANDED).encode())

    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    async with wire(metadata) as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{service.endpoint}/")
        await check()
    assert len(service.requests) == 3


async def test_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = {**HANDED, "Version": 1, "SessionToken": HANDED["Token"]}
    program = tmp_path / "hand-out.py"
    program.write_text(f"print({json.dumps(handed)!r})")
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    await check()
