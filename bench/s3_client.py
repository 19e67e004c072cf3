"""What one request of the S3 store costs: time, and CPU time of this process.

    AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... python bench/s3_client.py 's3://bucket/bench?endpoint=http://...'

Prints a line per workload: requests, wall time and CPU time for each, and the rate. What it stores it deletes.
"""

from __future__ import annotations

import argparse
import resource
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from vfs.store.base import ObjectMeta
from vfs.store.s3 import Location, S3Store
from vfs.types import Key

MIB = 1 << 20
META = ObjectMeta({"mode": "33188", "uid": "1000", "gid": "1000", "mtime": "1700000000.123456789"})

Work = Callable[[int], Awaitable[object]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="s3://bucket/prefix?endpoint=...")
    parser.add_argument("--small", type=int, default=500, help="requests of 4 KiB")
    parser.add_argument("--parts", type=int, default=32, help="parts of 8 MiB")
    parser.add_argument("--tasks", type=int, default=8, help="at once")
    trio.run(run, parser.parse_args())


async def run(options: argparse.Namespace) -> None:
    store = S3Store(Location.parse(options.url))
    tag = secrets.token_hex(4)
    small = [Key(f"bench-{tag}/{number:05}") for number in range(options.small)]
    large = Key(f"bench-{tag}-large")
    block = secrets.token_bytes(4096)
    buffers = [secrets.token_bytes(128 * 1024) for _ in range(64)]

    await store.list("", limit=1)
    at_once = partial(measure, tasks=options.tasks)
    one = partial(measure, tasks=1)
    await one("put 4 KiB, one by one", lambda i: store.put(small[i], [block], META), options.small)
    await at_once(
        f"put 4 KiB, {options.tasks} at once", lambda i: store.put(small[i], [block], META), options.small
    )
    await one("head", lambda i: store.head(small[i]), options.small)
    await one("get 4 KiB", lambda i: store.get(small[i], 0, 4096), options.small)
    await one(f"list {options.small}", lambda i: store.list(f"bench-{tag}/"), 20)
    upload = await store.create_upload(large, META)
    parts = {}

    async def send(i: int) -> None:
        parts[i] = await store.upload_part(upload, i + 1, buffers)

    await one("upload 8 MiB, one by one", send, options.parts, 8 * MIB)
    await at_once(f"upload 8 MiB, {options.tasks} at once", send, options.parts, 8 * MIB)
    await store.complete_upload(upload, [parts[i] for i in sorted(parts)])

    async def fetch(i: int) -> None:
        assert len((await store.get(large, i * 8 * MIB, 8 * MIB)).data) == 8 * MIB

    await one("get 8 MiB, one by one", fetch, options.parts, 8 * MIB)
    await at_once(f"get 8 MiB, {options.tasks} at once", fetch, options.parts, 8 * MIB)
    for start in range(0, len(small), 1000):
        await store.delete_many(small[start : start + 1000])
    await store.delete(large)
    await store.aclose()


async def measure(name: str, work: Work, count: int, size: int = 0, *, tasks: int) -> None:
    queue = iter(range(count))

    async def worker() -> None:
        for i in queue:
            await work(i)

    wall, cpu = time.perf_counter(), cpu_seconds()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(worker)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    rate = f"{count * size / wall / MIB:8.0f} MiB/s" if size else f"{count / wall:8.0f} /s"
    line = f"{name:26} {count:5} x {wall / count * 1e3:8.2f} ms wall {cpu / count * 1e3:7.2f} ms CPU {rate}"
    print(line)  # noqa: T201


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
