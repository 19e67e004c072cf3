"""The synchronous side: connections, used from worker threads, and the one place that knows the redis package."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY, ClusterNode, RedisCluster
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ClusterError, NoScriptError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from vfs.meta.redis.limits import Limits
from vfs.meta.redis.location import Form, Location
from vfs.meta.redis.scripts import Script

SECONDS_PER_BYTE = 1e-7
"""What an answer may take beside the time of any: 10 MB/s."""


class Asks(Protocol):
    """What is used of Redis and RedisCluster alike."""

    def execute_command(self, *words: Any) -> Any: ...

    def close(self) -> None: ...


class Away(Exception):
    """Redis did not answer, or refused. The text is the cause, without secrets."""


class Restarted(RedisConnectionError):
    """Another process than the one that was entered: what it holds may be older than what was told to that one."""


class Client:
    """One Redis. Every method but `abort` ends within the time limits, or raises Away.

    Commands and the feed have connections of their own, as the feed's wait for long.
    """

    def __init__(self, location: Location, limits: Limits, key: str) -> None:
        self._location = location
        self._limits = limits
        self._key = key
        """One of ours, by which a Cluster finds the node of all."""
        self._making = threading.Lock()
        """Held while a client is made, which connects to a Cluster; taken before `_lock`."""
        self._lock = threading.Lock()
        self._commands: Asks | None = None
        self._feed: Asks | None = None
        self._feeding: Any = None
        self._servers: dict[str, str] = {}
        self._owner = ""
        self.requests = 0

    def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int | float]) -> Any:
        """What the script returns."""
        with self._translated(self._lost_commands):
            client = self._connected_commands()
            answer = self._evaluate(client, script, [*keys, *args], len(keys))
            if self._owner and self._node(client) != self._owner:
                raise Restarted("another node of the Cluster has taken over")
            return answer

    def enter(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int | float]) -> Any:
        """As `run`, on whatever server there is now; from then on, another one is an error."""
        with self._translated(self._lost_commands):
            client = self._connected_commands()
            with self._lock:
                self._servers.clear()
            answer = self._evaluate(client, script, [*keys, *args], len(keys), counted=False)
            self._owner = self._node(client)
            return answer

    def read(
        self, stream: str, after: bytes, count: int, block: float
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Entries of a stream, each with its fields; waits up to `block` seconds for the first."""
        wait = ["BLOCK", max(int(block * 1000), 1)] if block else []
        with self._translated(self._lost_feed):
            if self._feed is None:
                self._feed = self._made(self._limits.command_timeout + self._limits.block, self._feed_opened)
            answer = self._feed.execute_command("XREAD", "COUNT", count, *wait, "STREAMS", stream, after)
        return entries(answer)

    def abort(self) -> None:
        """Ends a `read` that another thread waits in; it raises Away."""
        sock = getattr(self._feeding, "_sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._making:
            clients, self._commands, self._feed = (self._commands, self._feed), None, None
        for client in clients:
            if client is not None:
                with contextlib.suppress(RedisError, RedisClusterException, OSError):
                    client.close()

    # -- connections -----------------------------------------------------------------------------------------

    def _connected_commands(self) -> Asks:
        with self._making:
            if self._commands is None:
                self._commands = self._made(self._limits.command_timeout, self._opened)
            return self._commands

    def _evaluate(
        self, client: Asks, script: Script, words: Sequence[Any], keys: int, counted: bool = True
    ) -> Any:
        self._count(counted)
        try:
            return client.execute_command("EVALSHA", script.sha, keys, *words)
        except NoScriptError:
            self._count(counted)
            return client.execute_command("EVAL", script.text, keys, *words)

    def _count(self, counted: bool) -> None:
        if counted:
            with self._lock:
                self.requests += 1

    def _node(self, client: Asks) -> str:
        if not isinstance(client, RedisCluster):
            return ""
        node = client.get_node_from_key(self._key)  # type: ignore[no-untyped-call]
        return str(node.name)

    def _translated(self, lost: Callable[[BaseException], None]) -> contextlib.AbstractContextManager[None]:
        return _Translated(self._location.password, lost)

    def _lost_commands(self, error: BaseException) -> None:
        """No node answers of those that the library saw last, so begin with the URL's again.

        What is dropped is not closed, as other threads may use it; the last of them does.
        """
        if isinstance(error, RedisClusterException):
            with self._making:
                self._commands = None

    def _lost_feed(self, _: BaseException) -> None:
        """The library (8.1) asks one node of a Cluster where the keys of XREAD are, and no other if that is dead."""
        if self._location.form is Form.CLUSTER:
            self._feed = None

    def _opened(self, connection: Any) -> None:
        """A new connection: is it the same server still? A Cluster has several, each of which may be asked."""
        cluster = self._location.form is Form.CLUSTER
        if not cluster:
            connection.on_connect()
        connection.send_command("INFO", "server")
        found = _run_id(connection.read_response())
        where = f"{connection.host}:{connection.port}" if cluster else ""
        with self._lock:
            known = self._servers.setdefault(where, found)
        if known != found:
            raise Restarted("the server was restarted, or another one has taken over")

    def _feed_opened(self, connection: Any) -> None:
        if self._location.form is not Form.CLUSTER:
            connection.on_connect()
        _settled(connection)
        self._feeding = connection

    def _made(self, timeout: float, opened: Callable[[Any], None]) -> Asks:
        place = self._location
        options: dict[str, Any] = {
            "username": place.username or None,
            "password": place.password or None,
            "socket_timeout": timeout,
            "redis_connect_func": opened,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,
        }
        if place.form is Form.SOCKET:
            return _pooled(UnixDomainSocketConnection, options | {"path": place.socket, "db": place.db})
        options |= {"socket_connect_timeout": self._limits.connect_timeout, "socket_keepalive": True}
        if place.form is Form.SERVER:
            host, port = place.hosts[0]
            where = {"host": host, "port": port, "db": place.db}
            if place.tls is None:
                return _pooled(Connection, options | where)
            return _pooled(SSLConnection, options | where | _tls(place.tls))
        if place.tls is not None:
            options |= {"ssl": True, **_tls(place.tls)}
        if place.form is Form.SENTINEL:
            plain = {
                name: value
                for name, value in options.items()
                if name not in ("redis_connect_func", "username", "password", "socket_timeout")
            }
            plain["socket_timeout"] = self._limits.connect_timeout
            plain["password"] = place.sentinel_password or None
            plain["redis_connect_func"] = _guard_opened
            guards = _Sentinels(place.hosts, sentinel_kwargs=plain, **options, db=place.db)  # type: ignore[no-untyped-call]
            return guards.master_for(place.service)  # type: ignore[no-any-return, no-untyped-call]
        options["retry"] = Retry(NoBackoff(), 1)  # once more, when the nodes were asked where the slot is now
        nodes = [ClusterNode(host, port) for host, port in place.hosts]  # type: ignore[no-untyped-call]
        return _Cluster(startup_nodes=nodes, **options)


class _Translated(contextlib.AbstractContextManager[None]):
    """Foreign exceptions become Away. ValueError and AttributeError: a socket that was closed while it was read."""

    def __init__(self, secret: str, lost: Callable[[BaseException], None]) -> None:
        self._secret = secret
        self._lost = lost

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, RedisError | RedisClusterException | OSError | ValueError | AttributeError):
            return
        self._lost(error)
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        text = text.partition(". script: ")[0].partition(" script: ")[0]
        if type(error) is ClusterError:
            text += " What is ours is between two nodes."
        raise Away(text.replace(self._secret, "***") if self._secret else text) from error


def entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """What XREAD says of one stream: `[[stream, entries]]`, or a mapping from newer versions of the library."""
    streams = answer.items() if isinstance(answer, dict) else answer or ()
    return [(ident, dict(fields or {})) for _, items in streams for ident, fields in items]


def timed(call: Callable[[], Any], read: Callable[[Any], Any], size: int) -> tuple[Any, float]:
    """What `read` makes of what the call returns, and how long that was under way beyond what its size explains.

    Without the wait for a thread, and without reading.
    """
    begun = time.monotonic()
    answer = call()
    seconds = time.monotonic() - begun - (size + _size(answer)) * SECONDS_PER_BYTE
    return None if answer is None else read(answer), seconds


def _size(answer: Any) -> int:
    """Bytes of an answer, roughly."""
    if isinstance(answer, bytes):
        return len(answer)
    return sum(map(_size, answer)) if isinstance(answer, list) else 8


class _Cluster(RedisCluster):
    """Follows ASK to a node without slots too, which is not in the library's table (8.1; redis-py issue 4015)."""

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        node: ClusterNode | None = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if node is None and node_name:
            place, _, number = node_name.rpartition(":")
            node = ClusterNode(place, int(number), PRIMARY)  # type: ignore[no-untyped-call]
            node = self.nodes_manager.nodes_cache.setdefault(node_name, node)
        return node


class _Sentinels(Sentinel):
    """The library (8.1) shows the objects that it asked, and drops what went wrong with them."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            for guard in self.sentinels:
                guard.execute_command("PING")  # type: ignore[no-untyped-call]
            raise MasterNotFoundError(f"the Sentinels know of no {service_name} that is up") from None
        return found


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    """As the library takes them. Raises ConnectionError that names the file which is of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name = "ssl_ca_certs"
    try:
        if name in options:
            context.load_verify_locations(options[name])
        name = "ssl_certfile"
        if name in options:
            # without a password, one would be asked for on the terminal
            context.load_cert_chain(options[name], options.get("ssl_keyfile"), password="")
    except OSError as error:
        raise RedisConnectionError(f"{name} {options[name]}: {error}") from error
    return {**options, "ssl_check_hostname": options.get("ssl_check_hostname") != "false"}


def _guard_opened(connection: Any) -> None:
    connection.on_connect()
    _settled(connection)


def _settled(connection: Any) -> None:
    """Asks something on a new connection; any answer will do.

    With TLS 1.3 the server sends tickets after its handshake, and the library (8.1) takes a connection for broken on
    which there is something to read before a question.
    """
    connection.send_command("PING")
    with contextlib.suppress(ResponseError):
        connection.read_response()


def _pooled(kind: type[Any], options: dict[str, Any]) -> Redis:
    return Redis.from_pool(ConnectionPool(connection_class=kind, **options))  # which it closes, too


def _run_id(info: bytes | str) -> str:
    text = info.decode(errors="replace") if isinstance(info, bytes) else info
    for line in text.splitlines():
        if line.startswith("run_id:"):
            return line[len("run_id:") :]
    return ""
