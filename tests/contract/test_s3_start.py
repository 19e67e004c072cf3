"""A store that cannot be used says so at the start, in one line that tells what to do."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.contract.stores import FINDINGS
from tests.servers.ministack import MiniStack
from tests.servers.server import Server
from tests.servers.swift import Swift
from vfs.config import Config
from vfs.errors import VfsError
from vfs.store import opening
from vfs.store.layers import innermost
from vfs.store.opening import open_store, prepare
from vfs.store.s3 import S3Store
from vfs.store.s3.probe import Findings


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For stores that do not answer, which are asked until that is over."""
    monkeypatch.setattr(opening, "START_SECONDS", 2.0)


async def start(
    server: Server, patch: pytest.MonkeyPatch, *, read_only: bool = False, **options: str
) -> S3Store:
    """Opens and prepares a store as a mount does, and closes it."""
    for name, value in server.env.items():
        patch.setenv(name, value)
    url = server.store_url("start", **options)
    config = Config(mountpoint=Path("/nowhere"), user="u1", store=url, read_only=read_only)
    store = open_store(url, config)
    try:
        await prepare(store, config)
    finally:
        await store.aclose()
    inner = innermost(store)
    assert isinstance(inner, S3Store)
    return inner


async def refusal(server: Server, patch: pytest.MonkeyPatch, **options: str) -> str:
    with pytest.raises(VfsError) as raised:
        await start(server, patch, **options)
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 300
    assert server.secret_key not in text
    return text


async def test_a_good_one(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await start(ministack.server, monkeypatch)
    assert store.findings == Findings()
    assert ministack.server.client.keys("start/") == []


@pytest.mark.swift
async def test_what_swift_lacks_is_found(swift: Swift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "START_SECONDS", 20.0)
    store = await start(swift.server, monkeypatch)
    assert store.findings == FINDINGS["swift"]
    assert swift.server.client.keys("start/") == []


async def test_wrong_secret(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await refusal(ministack.with_wrong_secret(), monkeypatch)
    assert text.startswith("store s3://agentfs-test/start: SignatureDoesNotMatch: the secret key is wrong")


async def test_unknown_key(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await refusal(replace(ministack.server, access_key="AKIAUNKNOWN000000000"), monkeypatch)
    assert "the store does not know this access key" in text


async def test_missing_bucket(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await refusal(replace(ministack.server, bucket="not-there"), monkeypatch)
    assert text == (
        "store s3://not-there/start: NoSuchBucket: there is no such bucket: create it, or correct the store's URL"
    )


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:GetObject"])
async def test_missing_rights(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    text = await refusal(ministack.make_user([action]), monkeypatch)
    assert "AccessDenied: the store forbids this: give this user the right to it" in text


async def test_reading_needs_no_right_to_write(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(ministack.make_user(["s3:PutObject", "s3:DeleteObject"]), monkeypatch, read_only=True)


async def test_no_credentials(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    server = replace(ministack.server, access_key="", secret_key="")
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    text = await refusal_without_keys(server, monkeypatch)
    assert "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in text


async def refusal_without_keys(server: Server, patch: pytest.MonkeyPatch) -> str:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)
    url = server.store_url()
    config = Config(mountpoint=Path("/nowhere"), user="u1", store=url)
    store = open_store(url, config)
    with pytest.raises(VfsError) as raised:
        await prepare(store, config)
    await store.aclose()
    return str(raised.value)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_nobody_is_there(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    endpoint = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    await listener.aclose()
    text = await refusal(ministack.server.through(endpoint), monkeypatch)
    assert f"{endpoint} cannot be reached" in text


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_unknown_host(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await refusal(ministack.server.through("http://no-such-host.invalid"), monkeypatch)
    assert "the host name of http://no-such-host.invalid is not known: correct endpoint=" in text


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_https_on_a_port_for_http(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await refusal(ministack.server.through(ministack.endpoint.replace("http", "https")), monkeypatch)
    assert "TLS failed" in text
    assert "is the endpoint https?" in text


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed one for 127.0.0.1, with its key in the same file."""
    file = tmp_path / "server.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-subj", "/CN=agentfs test", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(file), "-out", str(tmp_path / "cert.pem")),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    file.write_text(file.read_text() + (tmp_path / "cert.pem").read_text())
    return file


async def forward(client: trio.abc.Stream, port: int) -> None:
    """One connection of a TLS terminator."""
    server = await trio.open_tcp_stream("127.0.0.1", port)

    async def pump(source: trio.abc.Stream, sink: trio.abc.Stream, done: Callable[[], None]) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        done()

    async with client, server, trio.open_nursery() as nursery:
        for source, sink in ((client, server), (server, client)):
            nursery.start_soon(pump, source, sink, nursery.cancel_scope.cancel)


async def test_certificates(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """A certificate that nobody vouches for is refused, and accepted once `ca_bundle` names it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    (listener,) = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
    endpoint = f"https://127.0.0.1:{listener.transport_listener.socket.getsockname()[1]}"
    behind = ministack.server.through(endpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, partial(forward, port=ministack.port), [listener])
        text = await refusal(behind, monkeypatch)
        assert "TLS certificate cannot be trusted (self-signed certificate)" in text
        assert "ca_bundle=" in text
        store = await start(behind, monkeypatch, ca_bundle=str(certificate))
        assert store.findings == Findings()
        store = await start(behind, monkeypatch, ca_bundle=str(certificate), checksums="when_supported")
        assert store.findings == Findings(), "the checksums are trailers then"
        nursery.cancel_scope.cancel()
