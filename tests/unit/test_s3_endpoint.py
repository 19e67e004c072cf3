"""An endpoint that is configured for AWS's tools counts as one that is in the URL: it is not AWS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_s3_probe import CEPH, PLACE, Bucket
from tests.wire import wire
from vfs.errors import ConfigError
from vfs.store.opening import identity
from vfs.store.s3 import Location, S3Store, with_endpoint

pytestmark = pytest.mark.usefixtures("s3_credentials")

URL = "s3://bucket?region=us-east-1"
CONFIG = """
[default]
endpoint_url = http://default:1/
[profile other]
services = there
endpoint_url = http://other:1
[services there]
s3 =
  endpoint_url = http://there:1
[profile silent]
ignore_configured_endpoint_urls = true
endpoint_url = http://silent:1
[profile plain]
region = eu-west-1
"""


@pytest.fixture
def config(s3_credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))


def found(url: str = URL) -> tuple[str, str]:
    location = with_endpoint(Location.parse(url))
    return location.endpoint, location.endpoint_from


@pytest.mark.usefixtures("config")
def test_what_is_configured_counts_in_the_order_of_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found() == ("http://default:1", "endpoint_url of profile")
    assert found(f"{URL}&profile=other") == ("http://there:1", "endpoint_url of s3 in services")
    assert found(f"{URL}&profile=plain") == ("", "")
    assert found(f"{URL}&profile=none") == ("", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all:1")
    assert found(f"{URL}&profile=other") == ("http://all:1", "AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3:1")
    assert found() == ("http://s3:1", "AWS_ENDPOINT_URL_S3")
    assert found(f"{URL}&endpoint=http://url:1") == ("http://url:1", "")
    assert found(f"{URL}&profile=silent") == ("", "")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert found() == ("", "")


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("profile", ["", "&profile=other", "&profile=silent", "&profile=plain"])
@pytest.mark.parametrize("variable", ["", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
async def test_botocore_agrees(profile: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its own client would use, which is not told of any endpoint."""
    from vfs.store.s3.client import Client

    if variable:
        monkeypatch.setenv(variable, "http://variable:1")
    location = Location.parse(URL + profile)
    client = Client(location, 1)
    try:
        async with client._borrowed() as real:
            used = real.meta.endpoint_url
    finally:
        await client.aclose()
    expected = with_endpoint(location).endpoint
    assert used.rstrip("/") == expected if expected else used.endswith(".amazonaws.com")


async def test_such_a_store_is_asked_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire(Bucket(CEPH)) as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL", served.endpoint)
        store = S3Store(Location.parse(URL))
        await store.prepare(store, PLACE, write=True)
        assert store.findings == CEPH
        assert all(request.target.startswith("/bucket/") for request in served.requests), "path style"
        assert store.endpoint == f"{served.endpoint}, from AWS_ENDPOINT_URL"
        assert identity(URL) == identity(f"{URL}&endpoint={served.endpoint}/")
        await store.aclose()
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert S3Store(Location.parse(URL)).endpoint == "AWS us-east-1"
    assert identity(URL) == "s3://bucket"


def test_what_is_no_endpoint_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "127.0.0.1:9000")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL_S3=https://host"):
        S3Store(Location.parse(URL))
