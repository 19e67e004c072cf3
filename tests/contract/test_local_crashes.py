"""The embedded store after a crash: every object is whole, old or new, with the metadata of that version."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import crash_points
from tests.contract.stores import keys
from vfs.store.local import LocalStore
from vfs.types import Key

WRITER = """
import itertools, sys, trio
from pathlib import Path
from vfs.store.base import ObjectMeta
from vfs.store.local import LocalStore

async def main():
    store = LocalStore(Path(sys.argv[1]), fsync=False, xattr=sys.argv[2] == "xattr")
    async def work(lane):
        for n in itertools.count(int(sys.argv[3])):
            body, meta = [b"%d;" % n] * (n * 7919 % 20000), ObjectMeta({"n": str(n)})
            key = f"lane{lane}/a/{n % 5}"
            await store.put(key, body, meta)
            upload = await store.create_upload(key + "-parts", meta)
            half = len(body) // 2
            parts = [await store.upload_part(upload, i + 1, b) for i, b in enumerate((body[:half], body[half:]))]
            await store.complete_upload(upload, parts)
            await store.copy(key, key + "-copy")
            await store.rename(key + "-copy", f"lane{lane}/b/{n % 5}")
            print(lane, n, flush=True)
            await store.delete(f"lane{lane}/a/{(n + 2) % 5}")
    async with trio.open_nursery() as nursery:
        for lane in range(3):
            nursery.start_soon(work, lane)

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xattr", "sidecar"])
def test_every_crash_point(tmp_path: Path, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.crash_points", str(tmp_path), kind],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    points = {name: int(count) for count, name in (line.split(" ", 1) for line in done.stdout.splitlines())}
    assert set(points) == set(crash_points.SCENARIOS)
    assert all(points.values()), "a change without a changing call was not tested"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xattr", "sidecar"])
async def test_kill_nine(tmp_path: Path, kind: str) -> None:
    """Writers in a process that is killed between any two instructions, six times over one directory."""
    chance = random.Random(7)
    last: dict[str, int] = {}
    begin = 1
    for _ in range(6):
        _write_and_die(tmp_path, kind, begin, chance.randint(1, 60), last)
        begin = max(last.values(), default=0) + 1
        store = LocalStore(tmp_path, fsync=False, xattr=kind == "xattr")
        newest: dict[str, int] = {}
        for key in await keys(store):
            got = await store.get(Key(key))
            assert got.info.meta is not None
            n = int(got.info.meta.metadata["n"])
            assert bytes(got.data) == b"%d;" % n * (n * 7919 % 20000), f"{key} is torn"
            lane = key.split("/")[0]
            newest[lane] = max(newest.get(lane, 0), n)
        for lane, n in last.items():
            assert newest[f"lane{lane}"] >= n, "what was acknowledged is there"
        for upload in await store.list_uploads(""):
            await store.abort_upload(upload)
        await store.sweep(-1.0)
        assert os.listdir(tmp_path / ".agentfs-store" / "tmp") == []
        assert os.listdir(tmp_path / ".agentfs-store" / "uploads") == []
        await store.aclose()


def _write_and_die(root: Path, kind: str, begin: int, lines: int, last: dict[str, int]) -> None:
    """Kills the writer after so many acknowledgements; whatever it was doing then is left undone."""
    command = [sys.executable, "-c", WRITER, str(root), kind, str(begin)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            lane, number = writer.stdout.readline().split()
            last[lane] = int(number)
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
