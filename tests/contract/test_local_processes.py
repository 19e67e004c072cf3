"""Two daemons may serve one directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.stores import keys, put, read
from vfs.store.local import LocalStore

INCREMENT = """
import sys, trio
from pathlib import Path
from vfs.errors import PreconditionFailed
from vfs.store.base import ObjectMeta
from vfs.store.local import LocalStore

async def main():
    store = LocalStore(Path(sys.argv[1]), fsync=False, xattr=sys.argv[2] == "xattr")
    for n in range(150):
        while True:
            got = await store.get("dir/counter")
            try:
                await store.put("dir/counter", [b"%d" % (int(got.data) + 1)], ObjectMeta(), if_match=got.info.etag)
            except PreconditionFailed:
                continue
            break
        await store.put(f"churn/{n % 3}/{sys.argv[3]}", [b"x"], ObjectMeta())
        await store.delete(f"churn/{n % 3}/{sys.argv[3]}")

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xattr", "sidecar"])
async def test_no_increment_is_lost(tmp_path: Path, kind: str) -> None:
    store = LocalStore(tmp_path, fsync=False, xattr=kind == "xattr")
    await put(store, "dir/counter", b"0")
    writers = [
        subprocess.Popen([sys.executable, "-c", INCREMENT, str(tmp_path), kind, str(number)])
        for number in range(3)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert await read(store, "dir/counter") == b"450"
    assert await keys(store) == ["dir/counter"]
    assert (await store.list("", delimiter="/")).prefixes == ["dir/"]
    await store.aclose()
