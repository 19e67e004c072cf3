"""Two programs that are at work when the store goes away: `tar x`, and one that writes a large file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuse.test_big_file import check_blocks
from tests.fuse.tree import make_tree, picture
from tests.mounting import PROJECT, Mount

FILES = 400
AT_WORK_SECONDS = 30.0
END_SECONDS = 120.0

WRITER = """\
import pathlib, sys
from tests.fuse.test_big_file import write_blocks
write_blocks(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
"""


@contextmanager
def at_work(mount: Mount, scratch: Path, blocks: int) -> Iterator[Programs]:
    """Both, in the middle of their work on one mount. `blocks` are MiB of the large file."""
    programs = Programs(mount, scratch, blocks)
    try:
        programs.start()
        yield programs
    finally:
        programs.end()


class Programs:
    """See `at_work`."""

    def __init__(self, mount: Mount, scratch: Path, blocks: int) -> None:
        self.mount = mount
        self.source = make_tree(scratch / "source", seed=3, files=FILES)
        self.tree = mount.workspace / "tree"
        self.big = mount.workspace / "big"
        self.blocks = blocks
        self.archive = scratch / "tree.tar"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.tree.mkdir()
        pack = ["tar", "-C", self.source, "--format=posix", "-cf", self.archive, "."]
        subprocess.run(pack, check=True, timeout=30)
        self._start(sys.executable, "-c", WRITER, self.big, self.blocks)
        self._wait_until(lambda: self.big.exists() and self.big.stat().st_size >= self.blocks << 16)
        self._start("tar", "-C", self.tree, "-xpf", self.archive)
        self._wait_until(lambda: len(os.listdir(self.tree)) >= 2)
        assert all(program.poll() is None for program in self.running), "too late, one has ended"

    def _start(self, *argv: object) -> None:
        self.running.append(subprocess.Popen([str(word) for word in argv], cwd=PROJECT))

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + AT_WORK_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "the programs make no progress"
            time.sleep(0.01)

    def finish(self) -> None:
        """Both end well, and what they wrote is in the store, to the byte."""
        deadline = time.monotonic() + END_SECONDS
        assert [program.wait(deadline - time.monotonic()) for program in self.running] == [0, 0]
        self.mount.remount()
        assert picture(self.tree) == picture(self.source)
        check_blocks(self.big, self.blocks)

    def end(self) -> None:
        for program in self.running:
            program.kill()
            program.wait()
