"""A question that the store answers late holds up nothing but who asked it."""

from __future__ import annotations

import os
import subprocess
import time

from tests.conftest import MakeMount
from tests.proxy import Proxy
from tests.proxy.actions import Latency
from tests.semantics.document import semantics
from tests.servers.redis import RedisServer
from tests.shared_mounts import connected, content, eventually

SLOW_SECONDS = 2.5
OLD, NEW = b"old", b"the new and longer content"


@semantics("S18.11")
def test_news_of_a_file_passes_a_slow_lookup(
    remote: MakeMount, proxy: Proxy, redis_server: RedisServer
) -> None:
    """The kernel is told of a name in a directory when the LOOKUP there has ended; who opens a file needs not wait.

    Nor does he read the new content as far as the old size.
    """
    one = remote(redis=redis_server.url)
    two = remote(redis=redis_server.url, prefix=one.prefix)
    connected(one, two)
    (one.workspace / "d").mkdir()
    (one.workspace / "file").write_bytes(OLD)
    eventually(lambda: content(two.workspace / "file") == OLD, "the file")
    eventually((two.workspace / "d").is_dir, "the directory")
    proxy.add(Latency(SLOW_SECONDS), "slow")
    with subprocess.Popen(["stat", two.workspace / "d" / "slow"], stderr=subprocess.DEVNULL) as asking:
        eventually(lambda: any("slow" in request.target for request in proxy.requests()), "the question")
        (one.workspace / "d" / "another").write_bytes(b"")
        (one.workspace / "file").write_bytes(NEW)
        seen: set[bytes | None] = set()
        longest = 0.0
        begun = time.monotonic()
        while NEW not in seen and time.monotonic() - begun < SLOW_SECONDS:
            opened = time.monotonic()
            seen.add(content(two.workspace / "file"))
            longest = max(longest, time.monotonic() - opened)
        assert asking.poll() is None, "it was not slow"
        assert seen <= {None, OLD, NEW}
        assert NEW in seen
        assert longest < 0.9
        assert os.stat(two.workspace / "file").st_size == len(NEW)
        asking.wait(SLOW_SECONDS + 10)
