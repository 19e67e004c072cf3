"""Redis over TLS: whom we believe, what we show, and that what is wrong is said once, clearly and without secrets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from tests.contract.shared import Heard, entry
from tests.contract.test_shared_redis import QUICK, known, listed, mounts
from tests.contract.test_shared_redis_faults import DROP, LONGEST, ask_all
from tests.contract.test_shared_redis_kinds import until
from tests.servers.certificates import Authority, Certificate
from tests.servers.redis import RedisSentinel, RedisServer, tls_options
from tests.servers.redis_cluster import SLOTS, node
from vfs.meta.redis import Limits, Location, RedisCache
from vfs.meta.redis.client import Client
from vfs.meta.shared import Change, Kind
from vfs.types import ETag, Key

pytestmark = pytest.mark.slow

PASSWORD = "right-secret"


@dataclass(frozen=True, slots=True)
class Files:
    ours: Authority
    other: Authority
    """Who signed none of the certificates."""
    good: Certificate
    elsewhere: Certificate
    """For another host."""
    client: Certificate

    def server(self, certificate: Certificate, **options: str) -> RedisServer:
        return RedisServer(**{**tls_options(self.ours, certificate), **options})

    @property
    def verified(self) -> str:
        return f"ssl_ca_certs={self.ours.certificate}"

    @property
    def shown(self) -> str:
        return f"ssl_certfile={self.client.certificate}&ssl_keyfile={self.client.key}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    ours, other = [Authority(tmp_path_factory.mktemp(name)) for name in ("ours", "other")]
    return Files(
        ours, other, ours.issued("good"), ours.issued("elsewhere", "DNS:redis.invalid"), ours.issued("client")
    )


@pytest.fixture(scope="module")
def server(files: Files) -> Iterator[RedisServer]:
    with closing(files.server(files.good, requirepass=PASSWORD)) as server:
        yield server


def url(server: RedisServer, *options: str, password: str = PASSWORD) -> str:
    return f"rediss://:{password}@127.0.0.1:{server.tls_port}/0?{'&'.join(options)}"


async def works(url: str, limits: Limits = QUICK) -> None:
    """Two mounts share what is known, and hear each other."""
    location = Location.parse(url, {})
    async with mounts(lambda: RedisCache(location, "tls", "u", limits)) as [(one, _), (two, other)]:
        await listed(one, "workspace", {"a": 1})
        assert await known(two) == {"a"}
        await one.keep_content(Key("k"), ETag("e"), b"data" * 10_000)
        assert await two.content(Key("k"), ETag("e")) == b"data" * 10_000
        await one.publish([Change(Kind.PUT, "workspace/b", entry()), DROP])
        await other.until(lambda heard: heard.changes[-1:] == [DROP])
        assert one.statistics().state == "connected"


async def fails(url: str, cause: str) -> None:
    """Calls end soon and know nothing, and both status and log say why, once."""
    with capture_logs() as lines:
        shared, heard = RedisCache(Location.parse(url, {}), "tls", "u", QUICK), Heard()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shared.run, heard)
            for _ in range(3):
                assert await ask_all(shared) < LONGEST
                await shared.publish([DROP])
                numbers = shared.statistics()
                assert numbers.state == "away"
                assert cause in numbers.cause
                await trio.sleep(0.1)  # real time: more attempts
            nursery.cancel_scope.cancel()
        assert not heard.states
        await shared.aclose()
    assert [(line["event"], cause in line["cause"]) for line in lines] == [("redis is away", True)]
    assert "secret" not in f"{lines}{numbers}"


async def test_a_server_that_is_verified(server: RedisServer, files: Files) -> None:
    await works(url(server, files.verified))
    assert int(server.ask("INFO", "stats")["total_connections_received"]) > 0


async def test_an_authority_of_the_environment(
    server: RedisServer, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the system are OpenSSL's, which this variable replaces."""
    monkeypatch.setenv("SSL_CERT_FILE", str(files.ours.certificate))
    await works(url(server))


async def test_believing_everybody_is_possible(server: RedisServer, files: Files) -> None:
    await works(url(server, "ssl_cert_reqs=none"))
    await works(url(server, "ssl_cert_reqs=none", f"ssl_ca_certs={files.other.certificate}"))


async def test_the_authority_is_not_known(server: RedisServer, files: Files) -> None:
    for options in ("", f"ssl_ca_certs={files.other.certificate}"):
        await fails(url(server, options), "CERTIFICATE_VERIFY_FAILED")


async def test_the_host_has_another_name(files: Files) -> None:
    with closing(files.server(files.elsewhere)) as server:
        await fails(url(server, files.verified, password=""), "certificate is not valid for '127.0.0.1'")
        await works(url(server, files.verified, "ssl_check_hostname=false", password=""))
        unknown = f"ssl_ca_certs={files.other.certificate}"
        await fails(
            url(server, unknown, "ssl_check_hostname=false", password=""), "CERTIFICATE_VERIFY_FAILED"
        )


async def test_the_password_is_wrong(server: RedisServer, files: Files) -> None:
    await fails(url(server, files.verified, password="wrong-secret"), "AuthenticationError")


async def test_a_server_that_asks_who_we_are(files: Files) -> None:
    with closing(files.server(files.good, tls_auth_clients="yes")) as server:
        await works(url(server, files.verified, files.shown, password=""))
        await fails(url(server, files.verified, password=""), "ConnectionError")


async def test_files_that_are_of_no_use_are_named(server: RedisServer, files: Files, tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.touch()
    await fails(url(server, f"ssl_ca_certs={missing}"), f"ssl_ca_certs {missing}: [Errno 2]")
    await fails(url(server, f"ssl_ca_certs={empty}"), f"ssl_ca_certs {empty}: ")
    without_key = f"ssl_certfile={files.client.certificate}"
    await fails(url(server, files.verified, without_key), f"ssl_certfile {files.client.certificate}: ")


async def test_a_key_with_a_passphrase_is_not_asked_for(
    server: RedisServer, files: Files, tmp_path: Path
) -> None:
    """On whose terminal? It would hang."""
    locked = files.ours.locked(files.client, tmp_path / "locked.key")
    shown = f"ssl_certfile={files.client.certificate}&ssl_keyfile={locked}"
    await fails(url(server, files.verified, shown), "ssl_certfile")


async def test_it_heals_when_the_authority_is_there(
    server: RedisServer, files: Files, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    shared, heard = (
        RedisCache(Location.parse(url(server, f"ssl_ca_certs={path}"), {}), "s", "u", QUICK),
        Heard(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.run, heard)
        for authority in (None, files.other, files.ours):
            if authority is not None:
                path.write_bytes(authority.certificate.read_bytes())
            if authority is not files.ours:
                await ask_all(shared)
                assert shared.statistics().state == "away"
        await heard.alive()
        nursery.cancel_scope.cancel()
    await shared.aclose()


async def test_a_feed_that_waits_ends_at_once(server: RedisServer, files: Files) -> None:
    """Its socket is shut down by another thread, and TLS is not used by two at once."""
    limits = Limits(block=30.0)
    for _ in range(5):
        shared, heard = RedisCache(Location.parse(url(server, files.verified), {}), "s", "u", limits), Heard()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shared.run, heard)
            await heard.alive()
            await trio.sleep(0.05)  # real time: until it waits
            begun = time.monotonic()
            nursery.cancel_scope.cancel()
        await shared.aclose()
        assert time.monotonic() - begun < LONGEST


def test_a_new_connection_is_not_taken_for_a_broken_one(files: Files) -> None:
    """There is something to read on it at once, as servers send tickets with which to come back sooner."""
    with ExitStack() as stack:
        server = stack.enter_context(closing(files.server(files.good)))
        options = tls_options(files.ours, files.good) | {"tls_replication": "yes"}
        stack.enter_context(closing(RedisSentinel(server, **options)))
        sentinel = f"rediss+sentinel://127.0.0.1:{options['tls_port']}/main?{files.verified}"
        for place in (url(server, files.verified, password=""), sentinel):
            for _ in range(15):
                client = Client(Location.parse(place, {}), Limits(), "key")
                assert client.read("stream", b"0-0", count=1, block=0.0) == []
                client.close()


async def test_a_cluster(files: Files) -> None:
    options = tls_options(files.ours, files.good) | {"tls_cluster": "yes", "requirepass": PASSWORD}
    with closing(node(**options)) as server:
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        await until(lambda: "cluster_state:ok" in server.ask("CLUSTER", "INFO"))
        place = f"rediss+cluster://:{PASSWORD}@127.0.0.1:{server.tls_port}?"
        await works(place + files.verified)
        await fails(place, "CERTIFICATE_VERIFY_FAILED")


async def test_sentinels(files: Files) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(closing(files.server(files.good)))
        options = tls_options(files.ours, files.good) | {"tls_replication": "yes"}
        sentinel = stack.enter_context(closing(RedisSentinel(server, **options)))
        place = f"rediss+sentinel://127.0.0.1:{options['tls_port']}/main?"
        await works(place + files.verified)
        await fails(place, "CERTIFICATE_VERIFY_FAILED")
        await fails(
            place.replace("main", "other") + files.verified, "the Sentinels know of no other that is up"
        )
        assert sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1] == str(server.tls_port)
