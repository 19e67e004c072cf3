"""The store's URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfs.errors import ConfigError
from vfs.store.s3 import Location


def test_the_least() -> None:
    assert Location.parse("s3://bucket") == Location("bucket")
    assert Location.parse("s3://bucket/") == Location("bucket")


def test_prefixes_end_in_a_slash() -> None:
    for url in ("s3://bucket/a/b%20c", "s3://bucket/a/b%20c/"):
        assert Location.parse(url).prefix == "a/b c/"


def test_all_options(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    url = (
        "s3://my.bucket-1/p?endpoint=http://127.0.0.1:9000/&region=eu-west-1&profile=my%20team&addressing=path"
        "&checksums=when_supported&equal_parts=yes&sse=aws:kms&sse_key=arn:aws:kms:eu:1:key/x"
        f"&storage_class=STANDARD_IA&request_payer=yes&keys=restricted&ca_bundle={bundle}"
    )
    assert Location.parse(url) == Location(
        bucket="my.bucket-1",
        prefix="p/",
        endpoint="http://127.0.0.1:9000",
        region="eu-west-1",
        profile="my team",
        addressing="path",
        checksums="when_supported",
        equal_parts=True,
        sse="aws:kms",
        sse_key="arn:aws:kms:eu:1:key/x",
        storage_class="STANDARD_IA",
        request_payer=True,
        keys="restricted",
        ca_bundle=str(bundle),
    )


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("s3://", "no bucket name"),
        ("s3:///x", "no bucket name"),
        ("s3://bucket:99999/x", "not a URL"),
        ("s3://bucket:9000/x", "no bucket name"),
        ("s3://[broken", "not a URL"),
        ("s3://key:secret@bucket/x", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/x#y", "%23"),
        ("s3://bucket/x%00", "NUL"),
        ("s3://bucket/" + "x" * 513, "512 bytes"),
        ("s3://bucket?color=red", "endpoint, region, profile"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?region=", "region"),
        ("s3://bucket?endpoint=127.0.0.1:9000", "endpoint=https://host"),
        ("s3://bucket?endpoint=http://key:secret@host", "use the environment"),
        ("s3://bucket?endpoint=http://host:port", "endpoint=https://host"),
        ("s3://bucket?addressing=north", "auto, path, virtual"),
        ("s3://bucket?checksums=no", "when_required, when_supported"),
        ("s3://bucket?equal_parts=true", "yes, no"),
        ("s3://bucket?sse=1", "AES256, aws:kms"),
        ("s3://bucket?sse_key=x", "sse=aws:kms"),
        ("s3://bucket?sse=AES256&sse_key=x", "sse=aws:kms"),
        ("s3://bucket?keys=short", "plain, restricted"),
        ("s3://bucket/pr%C3%A9fixe?keys=restricted", "no such prefix"),
        ("s3://bucket?ca_bundle=/no/such.pem", "PEM"),
        ("s3://bucket?profile=%20", "profile"),
    ],
)
def test_what_is_refused(url: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Location.parse(url)
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
