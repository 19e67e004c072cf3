"""What a program was told, and what is true: after a close, in a storm of 503, with a full disk for the cache."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import Peer
from bench.workloads import BIG, MIB, Sources, settled
from tests.proxy import Proxy, Status
from tests.servers.client import Refused

STORM = "(PutObject|CreateMultipartUpload|UploadPart|CompleteMultipartUpload)$"
STORM_SECONDS = 30.0
STORE_TIMEOUT = "10s"
"""Of agentfs in the storm; its default, a minute, would only take longer."""
DISK = 56 * MIB
"""s3fs does not mount where less than 50 MiB are free."""


@dataclass(frozen=True, slots=True)
class Promise:
    """`closed`: in the store when cp ended. `survived`: there after the machine went at that moment."""

    closed: bool
    survived: bool
    storm: str
    full: str


def promises(peer: Peer, proxy: Proxy, sources: Sources) -> Promise:
    closed, survived = _closed(peer, sources)
    return Promise(closed, survived, _storm(peer, proxy, sources), _full(peer, proxy, sources))


def _closed(peer: Peer, sources: Sources) -> tuple[bool, bool]:
    peer.start()
    try:
        peer.run("cp", sources.big, peer.root / "told")
        closed = _stored(peer, "told", sources.big)
    finally:
        peer.close()  # SIGKILL, and its cache is gone: a sandbox that ended
    return closed, _stored(peer, "told", sources.big)


def _storm(peer: Peer, proxy: Proxy, sources: Sources) -> str:
    """503 to every write from now on, until the sandbox ends."""
    peer.settings["AGENTFS_STORE_TIMEOUT"] = STORE_TIMEOUT
    peer.start()
    rule = proxy.add(Status(503), STORM)
    try:
        began = time.monotonic()
        done = peer.run("cp", sources.tail, peer.root / "storm", seconds=STORM_SECONDS)
        seconds = time.monotonic() - began
    finally:
        peer.close()
        proxy.remove(rule)
        peer.settings.clear()
    return _judged(done, _stored(peer, "storm", sources.tail), seconds)


def _full(peer: Peer, proxy: Proxy, sources: Sources) -> str:
    """A file of 64 MiB where the disk of /tmp and of the cache has room for 56."""
    if os.geteuid() != 0:
        return "needs root"
    with _small_disk(peer.cache):
        try:
            peer.start()
            began = time.monotonic()
            done = peer.run("cp", sources.big, peer.root / "large")
            seconds = time.monotonic() - began
            settled(peer, proxy, began)
        finally:
            peer.close()
    return _judged(done, _stored(peer, "large", sources.big), seconds)


def _judged(done: subprocess.CompletedProcess[str], stored: bool, seconds: float) -> str:
    if done.returncode == 124:
        return f"`cp` is still trying after {STORM_SECONDS:.0f} s"
    if done.returncode:
        reason = done.stderr.strip().rpartition(": ")[2]
        return f"`cp` fails after {seconds:.0f} s: {reason}"
    return "`cp` succeeds, stored" if stored else "**`cp` succeeds, nothing is stored**"


def _stored(peer: Peer, name: str, source: Path) -> bool:
    """Asked of the server itself, by another client."""
    try:
        return peer.direct.get(f"{peer.keys}{name}").body == source.read_bytes()
    except Refused:
        return False


@contextmanager
def _small_disk(point: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", point], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", point], check=True, timeout=30)


assert DISK < BIG
