"""One botocore client for one bucket: session, configuration, credentials, connection pool, and its life."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import trio
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from vfs.store.s3.faults import FOREIGN, translated
from vfs.store.s3.location import Location
from vfs.store.s3.transport import WireSession, prepare_events

CONNECT_SECONDS = 10.0
"""Longest wait for a connection. Everything else is bounded by the Deadline layer, which knows the sizes."""

for _name in ("aiobotocore", "botocore", "httpx2", "httpcore2"):
    # At INFO a line per request, at DEBUG the signed headers and with them session tokens.
    logging.getLogger(_name).setLevel(logging.WARNING)


class Client:
    """Makes calls; entered at the first one. One request per call: botocore's own retries are off."""

    def __init__(self, location: Location, connections: int) -> None:
        self._location = location
        self._connections = connections
        self._client: Any = None
        self._exit = AsyncExitStack()
        self._entering = trio.Lock()

    async def call(self, operation: str, **params: Any) -> Any:
        """The parsed answer of an operation by its botocore method name, e.g. `head_object`.

        Raises only VfsErrors.
        """
        try:
            client = self._client or await self._entered()
            return await getattr(client, operation)(Bucket=self._location.bucket, **params)
        except FOREIGN as error:
            raise translated(error, _about(operation, params)) from error

    async def presigned(self, operation: str, seconds: int, **params: Any) -> str:
        """A URL that makes that call without credentials for `seconds`."""
        params["Bucket"] = self._location.bucket
        try:
            client = self._client or await self._entered()
            return str(await client.generate_presigned_url(operation, Params=params, ExpiresIn=seconds))
        except FOREIGN as error:
            raise translated(error, _about(operation, params)) from error

    async def aclose(self) -> None:
        self._client = None
        await self._exit.aclose()

    async def _entered(self) -> Any:
        async with self._entering:
            if self._client is None:
                self._client = await self._made()
            return self._client

    async def _made(self) -> Any:
        location = self._location
        session = _session(location)
        creating = session.create_client(
            "s3",
            region_name=location.region or None,
            endpoint_url=location.endpoint or None,
            verify=location.ca_bundle or None,
            config=_config(location, self._connections),
        )
        client = await self._exit.enter_async_context(creating)
        prepare_events(client.meta.events)
        return client


def _session(location: Location) -> AioSession:
    session = get_session()
    if location.profile:
        session.set_config_variable("profile", location.profile)
    # Credentials are fetched by the session's own clients (STS, instance metadata): those too must run on trio.
    session.set_default_client_config(AioConfig(http_session_cls=WireSession))
    return session


def _config(location: Location, connections: int) -> AioConfig:
    return AioConfig(
        http_session_cls=WireSession,
        warm_up_loader_caches=True,
        connector_args={"write_timeout": None, "pool_timeout": None},
        max_pool_connections=connections,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=None,
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation=location.checksums,
        response_checksum_validation=location.checksums,
        s3={"addressing_style": location.addressing, "payload_signing_enabled": False},
        parameter_validation=False,
    )


def _about(operation: str, params: Mapping[str, Any]) -> str:
    where = params.get("Key", params.get("Prefix", ""))
    return f"{operation} {where!r}" if where else operation
