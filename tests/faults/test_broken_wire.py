"""Connections that break, answers that get lost, a store that asks for patience: programs notice nothing of it."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from tests.behind_proxy import settle
from tests.conftest import MakeMount
from tests.fuse.test_stress import work
from tests.proxy import Corrupt, LostReply, Proxy, Reset, ResetBody, Status, Truncate

KIB, MIB = 1 << 10, 1 << 20

CHANGES = (
    "(PutObject|CopyObject|UploadPart|UploadPartCopy|CompleteMultipartUpload|CreateMultipartUpload|Delete.*)$"
)
READS = "(GetObject|HeadObject|ListObjectsV2)$"


def test_a_mixed_workload_on_a_wire_that_breaks(remote: MakeMount, proxy: Proxy, scratch: Path) -> None:
    """Every kind of fault, all at once; what is read and what is stored is right to the byte."""
    seed = int(os.environ.get("AGENTFS_TEST_SEED") or random.randrange(1 << 30))
    sys.stderr.write(f"AGENTFS_TEST_SEED={seed}\n")
    proxy.chance.seed(seed)
    mount = remote(ram_limit="32M")
    mount.expect_log("store is away|kept both")
    rules = [
        proxy.add(LostReply(), CHANGES, probability=0.05),
        proxy.add(Reset(), CHANGES, probability=0.04),
        proxy.add(ResetBody("request"), "(PutObject|UploadPart)$", probability=0.04),
        proxy.add(Status(503), f"{CHANGES}|{READS}", probability=0.04),
        proxy.add(Status(500, "InternalError"), f"{CHANGES}|{READS}", probability=0.02),
        proxy.add(ResetBody(), READS, probability=0.05),
        proxy.add(Truncate(), "GetObject$", probability=0.05),
    ]
    workers = work(mount, scratch, seed, count=3, steps=120)
    sys.stderr.write(f"{[(type(rule.action).__name__, rule.hits) for rule in rules]}\n")
    assert sum(rule.hits for rule in rules) > 30, "hardly anything broke"
    proxy.clear()
    mount.remount()
    for worker in workers:
        worker.compare()
    assert "kept both" not in mount.log.read_text(), "it took itself for another writer"


def test_a_store_that_asks_for_patience_gets_it(remote: MakeMount, proxy: Proxy) -> None:
    mount = remote()
    directory = mount.workspace / "directory"
    directory.mkdir()
    settle(proxy)
    busy = proxy.add(Status(503, "SlowDown", retry_after=1), "PutObject$", count=3)
    began = time.monotonic()
    (directory / "file").write_bytes(b"x" * 100_000)
    assert time.monotonic() - began >= busy.hits == 3
    with proxy.counting() as counts:
        for number in range(20):
            (directory / f"file{number}").write_bytes(b"x" * 1000)
    assert counts.kinds == {"PutObject": 20}


def test_a_byte_that_goes_wrong_on_its_way_to_the_store(remote: MakeMount, proxy: Proxy) -> None:
    """With checksums the store finds out, and gets it once more. Without them nobody can."""
    mount = remote(query=(("checksums", "when_supported"),))
    small, large = os.urandom(300 * KIB), os.urandom(20 * MIB)
    rules = [
        proxy.add(Corrupt("request"), "PutObject$", count=2),
        proxy.add(Corrupt("request"), "UploadPart$", count=2),
    ]
    (mount.workspace / "small").write_bytes(small)
    (mount.workspace / "large").write_bytes(large)
    assert [rule.hits for rule in rules] == [2, 2]
    mount.remount()
    assert (mount.workspace / "small").read_bytes() == small
    assert (mount.workspace / "large").read_bytes() == large


def test_less_than_was_announced_is_never_taken_for_all(remote: MakeMount, proxy: Proxy) -> None:
    """An answer that is half as long is asked for once more, also if it says so."""
    mount = remote()
    contents = {"small": os.urandom(50 * KIB), "large": os.urandom(12 * MIB)}
    for name, content in contents.items():
        (mount.workspace / name).write_bytes(content)
    for hidden in (False, True):
        mount.remount()
        rule = proxy.add(Truncate(hidden=hidden), "GetObject$", count=2)
        for name, content in contents.items():
            assert (mount.workspace / name).read_bytes() == content
        assert rule.hits == 2
        proxy.remove(rule)
    for name, content in contents.items():
        assert (mount.workspace / name).read_bytes() == content
