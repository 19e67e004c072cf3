"""The control socket: protocol, bounds, trust."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from vfs.daemon import control
from vfs.daemon.control import Command, Control, Progress
from vfs.daemon.control_client import Hung, NoDaemon, Refused, connected, daemon_of
from vfs.daemon.runtime_dir import mount_id, opened, runtime_dir, search_places, socket_name
from vfs.errors import ConfigError, StoreUnavailable

POINT = Path("/mnt/agent")
NAME = socket_name(POINT)


async def echo(args: Mapping[str, Any], _progress: Progress) -> Mapping[str, Any]:
    return {"args": dict(args)}


async def steps(args: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    for left in range(int(args["steps"]), 0, -1):
        progress({"files": left})
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
    return {"done": True}


async def fail(_args: Mapping[str, Any], _progress: Progress) -> Mapping[str, Any]:
    raise StoreUnavailable("the store is away")


async def forever(_args: Mapping[str, Any], _progress: Progress) -> Mapping[str, Any]:
    await trio.sleep_forever()
    raise AssertionError


COMMANDS = {
    "echo": Command(echo),
    "steps": Command(steps),
    "fail": Command(fail),
    "forever": Command(forever, 3.0),
}


@asynccontextmanager
async def talking() -> AsyncIterator[trio.StapledStream[Any, Any]]:
    """A client's end of a connection in memory."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Control(COMMANDS).client, theirs)
        yield ours
        await ours.aclose()


async def say(stream: trio.abc.SendStream, message: object, *, raw: bytes | None = None) -> None:
    await stream.send_all(json.dumps(message).encode() + b"\n" if raw is None else raw)


async def hear(stream: trio.abc.ReceiveStream) -> list[dict[str, Any]]:
    """The answers up to one with "ok", or to the end."""
    said = b""
    while data := await stream.receive_some(65536):
        said += data
        answers = [json.loads(line) for line in said.splitlines()]
        if said.endswith(b"\n") and "ok" in answers[-1]:
            return answers
    return [json.loads(line) for line in said.splitlines()]


async def test_a_request_is_answered_and_another_may_follow() -> None:
    async with talking() as stream:
        for number in (1, 2):
            await say(stream, {"v": 1, "cmd": "echo", "args": {"n": number}})
            assert await hear(stream) == [{"v": 1, "ok": True, "result": {"args": {"n": number}}}]


async def test_two_requests_in_one_packet_are_two_requests() -> None:
    async with talking() as stream:
        await say(stream, None, raw=b'{"v":1,"cmd":"echo"}\n{"v":1,"cmd":"fail"}\n')
        assert (await hear(stream))[0]["ok"]
        assert not (await hear(stream))[0]["ok"]


async def test_progress_comes_before_the_result() -> None:
    async with talking() as stream:
        await say(stream, {"v": 1, "cmd": "steps", "args": {"steps": 5}})
        *progress, result = await hear(stream)
    assert result["result"] == {"done": True}
    left = [answer["progress"]["files"] for answer in progress]
    assert left
    assert left == sorted(left, reverse=True)


async def test_an_error_of_the_family_becomes_an_answer() -> None:
    async with talking() as stream:
        await say(stream, {"v": 1, "cmd": "fail"})
        assert await hear(stream) == [{"v": 1, "ok": False, "error": "the store is away"}]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"hello\n", "one JSON object"),
        (b"[1]\n", "version 1"),
        (b"\n", "one JSON object"),
        (b'{"cmd":"echo"}\n', "version 1"),
        (b'{"v":2,"cmd":"echo"}\n', "version 1"),
        (b'{"v":1}\n', '"cmd", a string'),
        (b'{"v":1,"cmd":"echo","args":[]}\n', '"args", an object'),
        (b'{"v":1,"cmd":"nothing"}\n', "unknown command 'nothing': this daemon knows echo, steps"),
        (b"[" * 5000 + b"\n", "one JSON object"),
        (b"\xff\xfe\n", "one JSON object"),
        (b"x" * (control.LINE_BYTES + 10) + b"\n", "bytes"),
    ],
)
async def test_nonsense_is_answered_with_the_reason(line: bytes, says: str) -> None:
    async with talking() as stream:
        await say(stream, None, raw=line)
        (answer,) = await hear(stream)
    assert answer["ok"] is False
    assert says in answer["error"]


async def test_a_command_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async with talking() as stream:
        await say(stream, {"v": 1, "cmd": "forever"})
        assert (await hear(stream))[0]["error"] == "the daemon did not finish in time"
    assert trio.current_time() == pytest.approx(3.0, abs=0.1)


async def test_a_client_that_says_nothing_is_hung_up_on(autojump_clock: trio.testing.MockClock) -> None:
    async with talking() as stream:
        began = trio.current_time()
        assert await hear(stream) == []
        assert trio.current_time() - began == pytest.approx(control.IDLE_SECONDS)


async def test_a_client_that_does_not_read_is_hung_up_on(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    with trio.fail_after(2 * control.IDLE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Control(COMMANDS).client, theirs)
            await say(ours, {"v": 1, "cmd": "echo"})


async def test_a_command_ends_when_its_client_goes() -> None:
    ended = trio.Event()

    async def watched(_args: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
        try:
            while True:
                progress({})
                await trio.lowlevel.checkpoint()
        finally:
            ended.set()

    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Control({"watched": Command(watched)}).client, theirs)
        await say(ours, {"v": 1, "cmd": "watched"})
        await ours.receive_some(10)
        await ours.aclose()
        await ended.wait()


async def test_clients_are_bounded() -> None:
    served = Control(COMMANDS)
    async with trio.open_nursery() as nursery:
        for _ in range(control.CLIENTS):
            _, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(served.client, theirs)
        await trio.testing.wait_all_tasks_blocked()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(served.client, theirs)
        assert (await hear(ours))[0]["error"] == "too many clients at once: try again"
        nursery.cancel_scope.cancel()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "agentfs"


async def ask(act: Callable[[], Any], commands: Mapping[str, Command] = COMMANDS) -> Any:
    """What `act` returns in a thread, while a daemon serves POINT."""
    with opened(runtime_dir(), create=True) as where:
        async with trio.open_nursery() as nursery:
            await nursery.start(Control(commands).serve, where, NAME)
            result = await trio.to_thread.run_sync(act)
            nursery.cancel_scope.cancel()
    return result


async def test_client_and_daemon_meet_on_the_socket(run: Path) -> None:
    heard: list[Mapping[str, Any]] = []

    def act() -> tuple[Any, int, int, list[int]]:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (run, run / NAME)]
        with daemon_of(POINT) as client:
            client.ask("echo")
            return client.ask("steps", {"steps": 3}, progress=heard.append), client.pid, client.uid, modes

    result = await ask(act)
    assert result == ({"done": True}, os.getpid(), os.geteuid(), [0o700, 0o600])
    assert heard
    assert list(run.iterdir()) == []


async def test_a_refusal_carries_the_reason(run: Path) -> None:
    def act() -> None:
        with daemon_of(POINT) as client, pytest.raises(Refused, match="the store is away"):
            client.ask("fail")

    await ask(act)


async def test_a_daemon_that_does_not_answer_is_hung_not_waited_for(run: Path) -> None:
    def act() -> None:
        with (
            daemon_of(POINT) as client,
            pytest.raises(Hung, match=rf"pid {os.getpid()}\) did not answer `forever`"),
        ):
            client.ask("forever", seconds=0.05)

    await ask(act)


async def test_a_socket_left_behind_is_nobody_and_is_replaced(run: Path) -> None:
    with opened(runtime_dir(), create=True) as where:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(where.address(NAME))
        stale.close()
        with pytest.raises(NoDaemon), connected(where, NAME):
            pass
    assert await ask((run / NAME).exists)


async def test_a_new_daemons_socket_outlives_the_old_daemon(run: Path) -> None:
    """After a lazy unmount the old daemon may still be storing while a new one has the mountpoint."""
    with opened(runtime_dir(), create=True) as where:
        async with trio.open_nursery() as nursery:
            await nursery.start(Control(COMMANDS).serve, where, NAME)
            inode = where.inode(NAME)
            async with trio.open_nursery() as second:
                await second.start(Control(COMMANDS).serve, where, NAME)
                newer = where.inode(NAME)
                assert newer != inode
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
    assert not (run / NAME).exists()


def test_nobody_serves(run: Path) -> None:
    with pytest.raises(NoDaemon, match="no daemon serves /mnt/agent"), daemon_of(POINT):
        pass


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_enter_is_refused(run: Path, mode: int) -> None:
    run.mkdir()
    run.chmod(mode)
    with pytest.raises(ConfigError, match="mode 0700"), opened(runtime_dir(), create=True):
        pass


def test_a_directory_of_another_is_refused(run: Path) -> None:
    run.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="must belong to uid 4711"), opened(run, owner=4711):
        pass


def test_a_symlink_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    run.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="set XDG_RUNTIME_DIR"), opened(runtime_dir(), create=True):
        pass


def test_a_directory_with_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "agentfs"
    deep.mkdir(parents=True, mode=0o700)
    with opened(deep) as where, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(where.address(NAME))
        assert where.sockets() == [NAME]


def test_where_sockets_are(tmp_path: Path) -> None:
    assert runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "agentfs"
    last = Path("/run/agentfs") if os.geteuid() == 0 else Path(f"/tmp/agentfs-{os.geteuid()}")
    assert runtime_dir({}) == last
    assert runtime_dir({"XDG_RUNTIME_DIR": "relative"}) == last
    assert runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path / "missing")}) == last
    assert (last, os.geteuid()) in search_places()


def test_every_mountpoint_has_a_name_of_its_own() -> None:
    assert mount_id(Path("/mnt/a")) != mount_id(Path("/mnt/b"))
    assert len(mount_id(Path("/" + "x" * 4000))) == 16
