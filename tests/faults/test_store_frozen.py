"""The store takes connections and answers nothing for 20 seconds, as one does whose network or machine hangs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.faults.programs import at_work
from tests.servers.ministack import MiniStack

SECONDS = 20.0


@pytest.mark.long
def test_programs_survive_20_seconds_without_an_answer(
    mounts: MakeMount, ministack: MiniStack, scratch: Path
) -> None:
    mount = mounts(server=ministack.server)
    mount.expect_log("store is away")
    with at_work(mount, scratch, blocks=256) as programs:
        try:
            ministack.process.pause()
            time.sleep(SECONDS)
            assert all(program.poll() is None for program in programs.running)
        finally:
            ministack.process.resume()
        programs.finish()
