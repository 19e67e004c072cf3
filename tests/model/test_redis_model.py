"""Two real mounts that share a Redis do random things in turn; both must show what a plain directory has."""

from __future__ import annotations

import os
import random
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.model.test_model import LONG
from tests.mountinfo import remove_tree
from tests.servers.redis import RedisServer
from tests.shared_mounts import connected

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(3600 if LONG else 120)]

STEPS = 4000 if LONG else 250
STEPS_WITHOUT = 400 if LONG else 20
SOON = 3.0
"""Seconds until the other mount must agree: it is told at once, on a machine that may be busy."""

EXPIRED = 1.0
QUICK = tuple((f"AGENTFS_{name}", "0.5") for name in ("WORKSPACE_TTL", "NEGATIVE_TTL"))

NAMES = ("a", "b", "c")
Picture = dict[str, tuple[int, bytes | None]]


@pytest.fixture
def plain(mount_root: Path) -> Iterator[Path]:
    """An ordinary directory, which is the model."""
    path = Path(tempfile.mkdtemp(dir=mount_root))
    yield path
    remove_tree(path)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("AGENTFS_TEST_SEED") or random.randrange(1 << 30))
    sys.stderr.write(f"AGENTFS_TEST_SEED={seed}\n")
    return random.Random(seed)


def unchanged(path: Path) -> tuple[os.stat_result, bytes | None]:
    """What is said of a name, and a file's bytes; news of another version may arrive in between."""
    while True:
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        if (now := path.lstat()).st_mtime_ns == status.st_mtime_ns and now.st_size == status.st_size:
            return status, data


def picture(top: Path) -> Picture:
    """Every name, with its mode and its bytes. Raises OSError for a name that goes while it is looked at."""
    found: Picture = {}
    for directory, names, files in os.walk(top, onerror=_raise):
        for name in names + files:
            path = Path(directory, name)
            status, data = unchanged(path)
            assert data is None or len(data) == status.st_size, f"{path}: {status.st_size}, {len(data)} bytes"
            found[str(path.relative_to(top))] = (status.st_mode, data)
    return found


def _raise(error: OSError) -> None:
    raise error


def agree(top: Path, expected: Picture, what: str, seconds: float) -> None:
    """Returns as soon as that is what a mount shows."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found: Picture | OSError = picture(top)
        except OSError as error:  # a name may go between its listing and its stat
            found = error
        if found == expected:
            return
        assert time.monotonic() < deadline, f"{what}: {found}\nshould be {expected}"
        time.sleep(0.01)


Step = Callable[[Path], None]


def step(chance: random.Random, known: Picture) -> tuple[str, Step]:
    """What is done, in words, and how, below either top directory."""
    path, other = _path(chance, known), _path(chance, known)
    data, mode = chance.randbytes(chance.choice((0, 10, 5000))), chance.choice((0o600, 0o644, 0o755))

    def append(top: Path) -> None:
        with (top / path).open("ab") as file:
            file.write(data)

    steps: dict[str, Step] = {
        f"create {path}": lambda top: _written(top / path, data),
        f"write {path}": lambda top: _written(top / path, data),
        f"append {path}": append,
        f"mkdir {path}": lambda top: (top / path).mkdir(),
        f"unlink {path}": lambda top: (top / path).unlink(),
        f"rmdir {path}": lambda top: (top / path).rmdir(),
        f"chmod {path}": lambda top: (top / path).chmod(mode),
        f"rename {path} {other}": lambda top: os.rename(top / path, top / other),
    }
    return chance.choice(list(steps.items()))


def _written(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _path(chance: random.Random, known: Picture) -> str:
    """One that is there, or a new one beside it."""
    directories = [
        "",
        *(f"{path}/" for path, (_, data) in known.items() if data is None and path.count("/") < 2),
    ]
    return chance.choice([*known, *(chance.choice(directories) + name for name in NAMES)])


def outcome(act: Step, top: Path) -> int:
    try:
        act(top)
    except OSError as error:
        return error.errno or -1
    return 0


def take_turns(
    tops: tuple[Path, Path],
    plain: Path,
    chance: random.Random,
    steps: int,
    settle: Callable[[], None],
    soon: float,
) -> None:
    """`settle` returns when the other mount must know."""
    done = 0
    for number in range(steps):
        what, act = step(chance, picture(plain))
        who = chance.randrange(2)
        expected = outcome(act, plain)
        assert outcome(act, tops[who]) == expected, f"{number}: mount {who}: {what}"
        done += not expected
        now = picture(plain)
        agree(tops[who], now, f"{number}: mount {who} itself: {what}", 0.0)
        settle()
        agree(tops[1 - who], now, f"{number}: the other one: mount {who}: {what}", soon)
    assert done > steps // 4, "hardly anything could be done"


def test_both_show_the_same(
    mounts: MakeMount, plain: Path, redis_server: RedisServer, chance: random.Random
) -> None:
    """With times to live of minutes."""
    one = mounts(redis=redis_server.url, native=False)
    two = mounts(redis=redis_server.url, native=False, store=one.store_dir)
    connected(one, two)
    take_turns((one.workspace, two.workspace), plain, chance, STEPS, lambda: None, SOON)
    one.remount()
    agree(one.workspace, picture(plain), "a mount that knows nothing", 0.0)


def test_with_a_redis_that_is_killed_and_restarted(
    mounts: MakeMount, plain: Path, server: RedisServer, chance: random.Random
) -> None:
    """Then the store is asked, as what is known is not believed for long."""
    flags = ("--revalidate", "0")
    one = mounts(redis=server.url, native=False, flags=flags, env=QUICK)
    two = mounts(redis=server.url, native=False, flags=flags, env=QUICK, store=one.store_dir)
    for mount in (one, two):
        mount.expect_log("redis is away")
    connected(one, two)

    def settle() -> None:
        if chance.random() < 0.3:
            if server.process is None:
                server.start()
            else:
                os.kill(server.process.pid, signal.SIGKILL)
                server.stop()
        time.sleep(EXPIRED)

    tops = (one.workspace, two.workspace)
    take_turns(tops, plain, chance, STEPS_WITHOUT, settle, 2 * SOON)
    if server.process is None:
        server.start()
    connected(one, two)
    for top in tops:
        agree(top, picture(plain), "when it is back", SOON)
