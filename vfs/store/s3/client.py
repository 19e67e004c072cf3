"""One botocore client for one bucket: session, configuration, credentials, connection pool, and its life."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
import trio
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.loaders import Loader

from vfs.errors import StoreDenied, VfsError
from vfs.store.s3.answers import moment
from vfs.store.s3.faults import FOREIGN, translated
from vfs.store.s3.location import Location
from vfs.store.s3.transport import WireSession, prepare_events

CONNECT_SECONDS = 10.0
"""Longest wait for a connection. Everything else is bounded by the Deadline layer, which knows the sizes."""

FILES_SECONDS = 5.0
"""How often the credentials files are looked at: two stat(2), which take 10 us."""

for _name in ("aiobotocore", "botocore", "httpx2", "httpcore2"):
    # At INFO a line per request, at DEBUG the signed headers and with them session tokens.
    logging.getLogger(_name).setLevel(logging.WARNING)

log = structlog.get_logger()

T = TypeVar("T")
Stamps = tuple[tuple[int, int], ...]

_MODELS = Loader(include_default_search_paths=True)
"""Shared by all sessions: reading the model of S3 takes 50 ms, and a renewed client needs it again."""


@dataclass(slots=True)
class _Live:
    """A client in use, made from credentials files with these stamps."""

    client: Any
    exit: AsyncExitStack
    files: tuple[str, ...]
    stamps: Stamps
    users: int = 0
    retired: bool = False


@dataclass(slots=True)
class Client:
    """Makes calls; entered at the first one. One request per call: botocore's own retries are off.

    When the credentials files change, calls that begin afterwards use what they say; those under way end in peace.
    """

    location: Location
    connections: int
    _live: _Live | None = None
    _look_at: float = 0.0
    _lock: trio.Lock = field(default_factory=trio.Lock)

    async def call(
        self, operation: str, params: Mapping[str, Any], take: Callable[[Any], Awaitable[T]] | None = None
    ) -> Any:
        """The parsed answer of an operation by its botocore method name, e.g. `head_object`.

        `take` makes something else of it, e.g. reads its body, while the connection is still there. Raises only
        VfsErrors.
        """
        about = _about(operation, params)
        try:
            async with self._borrowed() as client:
                answer = await getattr(client, operation)(Bucket=self.location.bucket, **params)
                return answer if take is None else await take(answer)
        except FOREIGN as error:
            reason = translated(error, about)
            if isinstance(reason, StoreDenied):
                self._look_at = 0.0  # new credentials may be there already
            raise reason from error

    async def presigned(self, operation: str, seconds: int, **params: Any) -> str:
        """A URL that makes that call without credentials for `seconds`."""
        params["Bucket"] = self.location.bucket
        try:
            async with self._borrowed() as client:
                return str(await client.generate_presigned_url(operation, Params=params, ExpiresIn=seconds))
        except FOREIGN as error:
            raise translated(error, _about(operation, params)) from error

    async def aclose(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            await live.exit.aclose()

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Any]:
        live = self._live
        if live is None or time.monotonic() >= self._look_at:
            live = await self._current()
        live.users += 1
        try:
            yield live.client
        finally:
            live.users -= 1
            if live.retired and not live.users:
                with trio.CancelScope(shield=True):
                    await live.exit.aclose()

    async def _current(self) -> _Live:
        async with self._lock:
            self._look_at = time.monotonic() + FILES_SECONDS
            live = self._live
            if live is None:
                self._live = live = await _made(self.location, self.connections)
            elif _stamps(live.files) != live.stamps:
                live = await self._renewed(live)
            return live

    async def _renewed(self, old: _Live) -> _Live:
        try:
            self._live = new = await _made(self.location, self.connections)
        except FOREIGN as error:
            reason: VfsError = translated(error, "credentials")
            log.warning("credentials files changed and cannot be used: the old ones stay", error=str(reason))
            return old
        log.info("credentials files changed")
        old.retired = True
        if not old.users:
            await old.exit.aclose()
        return new


async def _made(location: Location, connections: int) -> _Live:
    session = _session(location)
    files = _files(session)
    stamps = _stamps(files)
    creating = session.create_client(
        "s3",
        region_name=location.region or None,
        endpoint_url=location.endpoint or None,
        verify=location.ca_bundle or None,
        config=_config(location, connections),
    )
    exit_stack = AsyncExitStack()
    client = await exit_stack.enter_async_context(creating)
    prepare_events(client.meta.events)
    return _Live(client, exit_stack, files, stamps)


def _files(session: AioSession) -> tuple[str, ...]:
    names = (session.get_config_variable(name) for name in ("credentials_file", "config_file"))
    return tuple(os.path.expanduser(str(name)) for name in names)


def _stamps(files: tuple[str, ...]) -> Stamps:
    found = []
    for name in files:
        try:
            status = os.stat(name)
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((0, -1))
    return tuple(found)


def _session(location: Location) -> AioSession:
    session = get_session()
    session.register_component("data_loader", _MODELS)
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment)
    if location.profile:
        session.set_config_variable("profile", location.profile)
    # Credentials are fetched by the session's own clients (STS, instance metadata): those too must run on trio.
    session.set_default_client_config(AioConfig(http_session_cls=WireSession))
    return session


def _config(location: Location, connections: int) -> AioConfig:
    return AioConfig(
        http_session_cls=WireSession,
        signature_version="s3v4",  # URLs too: botocore still signs those the old way, which most stores refuse
        warm_up_loader_caches=True,
        connector_args={"write_timeout": None, "pool_timeout": None},
        max_pool_connections=connections,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=None,
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation=location.checksums,
        response_checksum_validation="when_required",
        s3={"addressing_style": _addressing(location), "payload_signing_enabled": False},
        parameter_validation=False,
    )


def _addressing(location: Location) -> str:
    """botocore's own "auto" prefers `bucket.host` everywhere; few stores but AWS have such names in their DNS.

    And for URLs it takes AWS's global host, which redirects to the region and so breaks their signature.
    """
    if location.addressing != "auto":
        return location.addressing
    return "path" if location.endpoint else "virtual"


def _about(operation: str, params: Mapping[str, Any]) -> str:
    where = params.get("Key", params.get("Prefix", ""))
    return f"{operation} {where!r}" if where else operation
