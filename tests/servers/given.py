"""Any other S3 server, named by whoever runs the tests.

    AGENTFS_TEST_S3=https://host AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... make test

AGENTFS_TEST_S3_BUCKET (agentfs-test, made if it is not there) and AGENTFS_TEST_S3_REGION (us-east-1) may be set too.
AGENTFS_TEST_S3=rgw starts a radosgw.
"""

from __future__ import annotations

import functools
import os

from tests.servers.server import Server

ENDPOINT = "AGENTFS_TEST_S3"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@functools.cache
def given() -> Server | None:
    """That server with its bucket, or None when none is named. Raises AssertionError without its keys."""
    endpoint = os.environ.get(ENDPOINT, "").rstrip("/")
    if not endpoint:
        return None
    missing = [name for name in KEYS if not os.environ.get(name)]
    assert not missing, f"{ENDPOINT} is set, so {' and '.join(missing)} must be set too"
    bucket = os.environ.get(f"{ENDPOINT}_BUCKET", "agentfs-test")
    region = os.environ.get(f"{ENDPOINT}_REGION", "us-east-1")
    server = Server(endpoint, region, bucket, *(os.environ[name] for name in KEYS))
    server.client.make_bucket()
    return server
