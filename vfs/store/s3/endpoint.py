"""Which endpoint is used where the store's URL names none: the one that AWS's own tools are configured with.

botocore reads it too, unseen: a store taken for AWS would then be another one, and not asked what it can do. The
order is botocore's (docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError
from botocore.session import get_session

from vfs.store.s3.location import Location, check_endpoint

_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def with_endpoint(location: Location) -> Location:
    """The location with the endpoint that its requests go to, "" for AWS. Raises ConfigError."""
    if location.endpoint:
        return location
    try:
        name, value = next(_configured(location.profile), ("", ""))
    except BotoCoreError:
        return location  # a profile that is not there, say: the first call tells
    if not value:
        return location
    return replace(location, endpoint=check_endpoint(name, value), endpoint_from=name)


def _configured(profile: str) -> Iterator[tuple[str, str]]:
    """Where an endpoint may be set, and what it is, the first one counts."""
    session = get_session()
    if profile:
        session.set_config_variable("profile", profile)
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return
    yield from ((name, os.environ[name]) for name in _VARIABLES if os.environ.get(name))
    scoped: dict[str, Any] = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(scoped.get("services"), {})
    for name, section in (("s3 in services", services.get("s3", {})), ("profile", scoped)):
        if isinstance(section, dict) and section.get("endpoint_url"):
            yield f"endpoint_url of {name}", section["endpoint_url"]
