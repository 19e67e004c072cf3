"""Random programs on one file in a real S3 store, while its wire breaks in random ways.

The file system is the real one, without a kernel; the store is the real one, with all its layers, on a server behind
the fault proxy. Whatever that does: what was acknowledged is in the store, and every byte that is read was written.
The server is looked at past the proxy, by a client of another make.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count

import pytest
import trio
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from tests.behind_proxy import proxy
from tests.model.test_model import LONG
from tests.proxy import Action, LostReply, Proxy, Reset, ResetBody, Status, Truncate
from tests.servers.server import Server
from tests.unit.disk import Disk, mounted
from tests.unit.test_filesystem_content import PART, PATH, History, Player, Steps, step
from vfs.errors import NotFound, StoreUnavailable
from vfs.store.base import Capabilities
from vfs.store.breaker import Breaker
from vfs.store.layers import Deadline, Layer, Limit
from vfs.store.retry import Retry
from vfs.store.s3 import Location, S3Store

__all__ = ["proxy"]

ATTEMPT = 2.0
SECONDS = 60.0
"""In which one example ends, whatever happens."""

program = st.lists(st.tuples(st.floats(0, 0.004), step), min_size=1, max_size=10)

action = st.sampled_from(
    [
        *(LostReply(), LostReply(), Reset(), ResetBody("request"), ResetBody(), Truncate()),
        *(Status(503), Status(503, retry_after=0.2), Status(500, "InternalError")),
    ]
)
KINDS = ("PutObject", "UploadPart", "UploadPartCopy", "CreateMultipartUpload", "CompleteMultipartUpload")
where = st.sampled_from([*(f"{kind}$" for kind in (*KINDS, "CopyObject", "GetObject", "Delete.*")), "."])
fault = st.tuples(action, where, st.sampled_from([0.2, 0.5, 1.0]), st.sampled_from([1, 2, 4]))

IMPATIENT, PATIENT = 0.4, 15.0
"""Seconds for which a call is tried: some faults outlast the one, and none the other."""

Faults = list[tuple[Action, str, float, int]]

numbers = count()


class SmallParts(Layer):
    """The server takes parts of any size, so that a few bytes are a large file."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, min_part=1)


@pytest.fixture
def credentials(s3: Server) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.env.items():
            patch.setenv(name, value)
        yield


@asynccontextmanager
async def stored_on(server: Server, prefix: str, patience: float) -> AsyncIterator[SmallParts]:
    """The store as a mount has it; it gives up a call after `patience` seconds."""
    inner = S3Store(Location.parse(server.store_url(prefix)))
    layers = Retry(Breaker(Limit(Deadline(inner, ATTEMPT), 16), patience), patience)
    store = SmallParts(layers)
    try:
        yield store
    finally:
        await store.aclose()


async def unlinked(disk: Disk) -> None:
    """The store is well again, and the breaker finds out in time."""
    while True:
        try:
            await disk.unlink(PATH)
        except NotFound:
            return
        except StoreUnavailable:
            await trio.sleep(0.1)


async def run(
    proxy: Proxy, s3: Server, programs: list[Steps], faults: Faults, patience: float, ram: int
) -> None:
    """All programs at once, on one file; then it is removed, and nothing may be left in RAM."""
    prefix = f"model-{next(numbers)}"
    key = f"{prefix}/users/u1/{PATH}"
    history = History()

    async def look() -> bytes:
        return (await trio.to_thread.run_sync(s3.client.get, key)).body

    async with (
        stored_on(s3.through(proxy.url), prefix, patience) as store,
        mounted(store, part_size=PART, ram_limit=ram, uploads=3, space_timeout=30.0) as disk,
    ):
        await disk.save(PATH, b"")
        player = Player(disk, history, look)
        handles = [await disk.open(PATH) for _ in programs]
        for what, match, probability, times in faults:
            proxy.add(what, match, probability=probability, count=times if patience == PATIENT else None)
        async with trio.open_nursery() as nursery:
            for fh, steps in zip(handles, programs, strict=True):
                nursery.start_soon(player.play, fh, steps)
        proxy.clear()
        await trio.to_thread.run_sync(proxy.wait_idle)
        found = await look() if key in s3.client.keys(key) else None
        if history.failed:
            event("a program was told of a failure")
            assert found is None or history.was_whole(history.acknowledged, found)
        else:
            assert found == history.now
        await unlinked(disk)
        disk.check_idle()
    left = set(s3.client.keys(f"{prefix}/"))
    roots = {f"{prefix}/users/u1/{name}/" for name in ("workspace", "memory")}
    assert patience == IMPATIENT or not history.failed, "faults that it could have sat out"
    assert history.failed or left == roots, "debris"
    s3.client.clear(f"{prefix}/")


@settings(
    max_examples=2000 if LONG else 25,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(
    programs=st.lists(program, min_size=1, max_size=3),
    faults=st.lists(fault, min_size=1, max_size=3),
    patience=st.sampled_from([IMPATIENT, PATIENT]),
    ram=st.sampled_from([4_000, 1 << 20]),
    seed=st.integers(0, 99),
)
@pytest.mark.timeout(3600 if LONG else 200)
def test_nothing_acknowledged_is_lost_whatever_the_store_does(
    proxy: Proxy,
    s3: Server,
    credentials: None,
    programs: list[Steps],
    faults: Faults,
    patience: float,
    ram: int,
    seed: int,
) -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            await run(proxy, s3, programs, faults, patience, ram)

    proxy.clear()
    proxy.chance.seed(seed)
    trio.run(main)
