"""The URL of a Redis, and that its password is shown nowhere."""

from __future__ import annotations

import pytest

from vfs.errors import ConfigError
from vfs.meta.redis.location import Form, Location


def parse(url: str, **environment: str) -> Location:
    return Location.parse(url, environment)


def test_one_server() -> None:
    assert parse("redis://h") == Location(Form.SERVER, (("h", 6379),))
    assert parse("redis://127.0.0.1:7000/3") == Location(Form.SERVER, (("127.0.0.1", 7000),), db=3)
    assert parse("redis://h/?db=2").db == 2
    assert parse("redis://[::1]:7000/").hosts == (("::1", 7000),)


def test_tls_verifies_unless_told_otherwise() -> None:
    assert parse("redis://h").tls is None
    assert parse("rediss://h").tls == {}
    assert parse("rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/ca").tls == {
        "ssl_cert_reqs": "none",
        "ssl_ca_certs": "/ca",
    }


def test_a_socket() -> None:
    assert parse("unix:///run/r%20s?db=1") == Location(Form.SOCKET, socket="/run/r s", db=1)
    assert parse("unix://u:p@/run/r").password == "p"


def test_sentinels_and_clusters() -> None:
    guards = parse("redis+sentinel://u:p@a,b:1/main/4")
    assert guards == Location(
        Form.SENTINEL, (("a", 26379), ("b", 1)), service="main", db=4, username="u", password="p"
    )
    assert parse("rediss+sentinel://a/main").tls == {}
    assert parse("redis+cluster://a,b:1") == Location(Form.CLUSTER, (("a", 6379), ("b", 1)))
    assert parse("rediss+cluster://a/0").tls == {}


def test_the_password_is_that_of_the_url_or_of_the_environment() -> None:
    assert parse("redis://:p%40@h", REDIS_PASSWORD="q").password == "p@"
    assert parse("redis://u@h", REDIS_PASSWORD="q").password == "q"
    assert parse("redis://h", REDIS_PASSWORD="q", AGENTFS_REDIS_PASSWORD="r").password == "r"
    assert parse("redis://user:p@h").username == "user"
    assert parse("redis+sentinel://:p@h/main", AGENTFS_SENTINEL_PASSWORD="q").sentinel_password == "q"
    assert parse("redis://:p@h", AGENTFS_SENTINEL_PASSWORD="q").sentinel_password == ""


def test_host_names_of_certificates_may_go_unchecked() -> None:
    assert parse("rediss://h?ssl_check_hostname=false").tls == {"ssl_check_hostname": "false"}
    with pytest.raises(ConfigError, match="ssl_check_hostname is true or false"):
        parse("rediss://h?ssl_check_hostname=no")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://:s3cret@h",
        "redis://",
        "redis://:s3cret@",
        "redis://:s3cret@h:x",
        "redis://:s3cret@h:70000",
        "redis://:s3cret@h/x",
        "redis://:s3cret@h/1/2",
        "redis://:s3cret@h,i",
        "redis://:s3cret@h?timeout=1",
        "redis://:s3cret@h?ssl_cert_reqs=none",
        "rediss://:s3cret@h?ssl_cert_reqs=maybe",
        "redis://:s3cret@h#x",
        "unix://:s3cret@host/path",
        "unix://",
        "redis+sentinel://:s3cret@h",
        "redis+cluster://:s3cret@h/1",
        "redis+other://:s3cret@h",
        "redis://:s3/cret@h",
    ],
)
def test_what_is_wrong_is_said_without_the_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert str(caught.value).startswith("redis: ")
    assert "cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_shown_without_secrets() -> None:
    location = parse("redis://u:s3cret@h:1/2")
    assert str(location) == "h:1"
    assert "s3cret" not in repr(location)
    assert str(parse("unix:///run/r")) == "/run/r"
