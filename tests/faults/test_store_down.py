"""The store is down for 20 seconds: connections are refused, and what was under way may or may not have happened."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conftest import MakeMount
from tests.faults.programs import at_work
from tests.proxy import Proxy

SECONDS = 20.0


def test_tar_and_a_gibibyte_survive_20_seconds_without_the_store(
    remote: MakeMount, proxy: Proxy, scratch: Path
) -> None:
    mount = remote()
    mount.expect_log("store is away")
    with at_work(mount, scratch, blocks=1024) as programs:
        proxy.stop()
        time.sleep(SECONDS / 2)
        told = mount.agentfs("status", str(mount.root)).stdout
        time.sleep(SECONDS / 2)
        assert all(program.poll() is None for program in programs.running)
        proxy.resume()
        programs.finish()
    assert "away for" in told
    assert "refused" in told
    assert "store is back" in mount.log.read_text()
