"""The life of a daemon, with a file system and a session that need no kernel."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from vfs.config import Config
from vfs.daemon.control_client import Client, Refused, daemon_of
from vfs.daemon.readiness import Readiness
from vfs.daemon.service import Engine, Service
from vfs.errors import ConfigError, StoreUnavailable, VfsError


@dataclass(frozen=True)
class Numbers:
    open_files: int = 1
    dirty_files: int = 2
    dirty_bytes: int = 300
    last_error: str = ""


@dataclass
class FakeFileSystem:
    """Counts drains; `failure` makes them fail."""

    failure: str = ""
    drains: int = 0
    events: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.events.append("running")
        try:
            yield
        finally:
            self.events.append("left")

    async def drain(self, progress: Callable[[int, int], None] | None = None) -> None:
        self.drains += 1
        self.events.append("drain")
        await trio.lowlevel.checkpoint()
        if self.failure:
            raise StoreUnavailable(self.failure)
        if progress:
            progress(0, 0)

    async def ask_again(self, path: str) -> None:
        self.events.append(f"ask again: {path}")

    def statistics(self) -> Numbers:
        return Numbers()


@dataclass
class FakeSession:
    """Serves until stopped. `refusal` is why it cannot mount."""

    fs: FakeFileSystem
    refusal: str = ""
    stopped: trio.Event = field(default_factory=trio.Event)

    async def serve(self, on_ready: Callable[[], None]) -> None:
        if self.refusal:
            raise ConfigError(self.refusal)
        self.fs.events.append("mounted")
        on_ready()
        await self.stopped.wait()
        self.fs.events.append("unmounted")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


POINT = Path("/mnt/agent")


class Daemon:
    """A service under test, the pipe it reports on, and its parts."""

    def __init__(self, *, failure: str = "", refusal: str = "") -> None:
        self.fs = FakeFileSystem(failure)
        self.session = FakeSession(self.fs, refusal)
        self.reading, writing = os.pipe()
        engine = Engine(self.fs, self.session.serve, self.session.stopped.set)
        config = Config(mountpoint=POINT, user="u1")
        self.service = Service(config, engine, Readiness(writing), "file:///srv", "1.2")

    def said(self) -> Any:
        with os.fdopen(self.reading, "rb") as pipe:
            return json.loads(pipe.readline() or b"null")

    async def asks(self, act: Callable[[Client], Any]) -> Any:
        def ask() -> Any:
            with daemon_of(POINT) as client:
                return act(client)

        return await trio.to_thread.run_sync(ask)

    async def ready(self) -> None:
        while self.service.state != "serving":
            await trio.lowlevel.checkpoint()


async def test_it_reports_serves_answers_and_stops() -> None:
    daemon = Daemon()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.service.run)
        await daemon.ready()
        assert daemon.said() == {"ready": os.getpid()}
        status = await daemon.asks(lambda client: client.ask("status"))
        assert {name: status[name] for name in ("user", "store", "state", "version", "dirty_bytes")} == {
            "user": "u1",
            "store": "file:///srv",
            "state": "serving",
            "version": "1.2",
            "dirty_bytes": 300,
        }
        assert status["rss"] > 1 << 20
        assert status["uptime"] >= 0
        assert (await daemon.asks(lambda client: client.ask("ping")))["pid"] == os.getpid()
        await daemon.asks(lambda client: client.ask("stop"))
    assert daemon.fs.events == ["running", "mounted", "unmounted", "drain", "left"]


async def test_drain_may_be_asked_for() -> None:
    daemon = Daemon()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.service.run)
        await daemon.ready()
        await daemon.asks(lambda client: client.ask("drain", {"timeout": 5}))
        daemon.session.stopped.set()
    assert daemon.fs.drains == 2
    os.close(daemon.reading)


async def test_a_drain_that_fails_is_refused_and_the_mount_stays() -> None:
    daemon = Daemon(failure="the store is away")

    def act(client: Client) -> None:
        with pytest.raises(Refused, match="the store is away"):
            client.ask("drain")
        with pytest.raises(Refused, match="timeout: use a number"):
            client.ask("drain", {"timeout": "soon"})

    async def use() -> None:
        await daemon.ready()
        await daemon.asks(act)
        assert daemon.service.state == "serving"
        daemon.session.stopped.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        with pytest.raises(VfsError, match="not everything was stored: the store is away"):
            await daemon.service.run()
    os.close(daemon.reading)


async def test_a_mount_that_fails_is_the_plain_reason() -> None:
    daemon = Daemon(refusal="no /dev/fuse")
    with pytest.raises(ConfigError, match=r"^no /dev/fuse$"):
        await daemon.service.run()
    os.close(daemon.reading)


async def test_nobody_waits_any_more() -> None:
    """The command that started it was killed: the mount is not wanted."""
    daemon = Daemon()
    os.close(daemon.reading)
    with pytest.raises(VfsError, match="the command that started this mount has ended"):
        await daemon.service.run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stores_everything_before_it_unmounts(number: signal.Signals) -> None:
    daemon = Daemon()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.service.run)
        await daemon.ready()
        os.kill(os.getpid(), number)
    assert daemon.fs.events == ["running", "mounted", "drain", "unmounted", "drain", "left"]
    os.close(daemon.reading)


async def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notify = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM)
    await notify.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    daemon = Daemon()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(daemon.service.run)
        await daemon.ready()
        daemon.session.stopped.set()
    assert (await notify.recv(4096)).startswith(b"READY=1\nSTATUS=/mnt/agent user=u1\n")
    assert (await notify.recv(4096)).startswith(b"STOPPING=1\n")
    notify.close()
    os.close(daemon.reading)


def test_the_descriptor_does_not_stay_in_the_environment() -> None:
    reading, writing = os.pipe()
    environ = {"AGENTFS_READY_FD": str(writing)}
    readiness = Readiness.inherited(environ)
    assert environ == {}
    assert readiness.in_background
    readiness.failed("no reason")
    with os.fdopen(reading, "rb") as pipe:
        assert json.loads(pipe.read()) == {"error": "no reason"}
    readiness.failed("twice")
    assert not Readiness.inherited({}).in_background
