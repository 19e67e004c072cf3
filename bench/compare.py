"""agentfs, s3fs and rclone side by side: requests, time, local disk, and what becomes of a file when things go wrong.

    python bench/compare.py --markdown figures.md --requests requests/

Each mounts its own prefix of one S3 server, behind one proxy that adds a latency to every request and counts them.
Takes about eight minutes; needs root, /dev/fuse and what `make test` installs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown

from bench.peers import PEERS, Missing, Peer, RcloneFull, RcloneWrites
from bench.promises import Promise, promises
from bench.report import Results, page
from bench.workloads import WORKLOADS, Sources, Wrong, fill, measure, settled
from tests.mountinfo import remove_tree
from tests.proxy import Latency, Proxy
from tests.servers.ministack import MiniStack

console = Console(stderr=True)


@click.command(help=__doc__)
@click.option(
    "--latency", type=click.FloatRange(0, 1000), default=10, show_default=True, help="ms per request"
)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option(
    "--seconds",
    type=click.IntRange(10),
    default=390,
    show_default=True,
    help="begin no round that ends later",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="write the tables here too")
@click.option("--requests", type=click.Path(path_type=Path), help="write each workload's requests below here")
def main(latency: float, rounds: int, seconds: int, markdown: Path | None, requests: Path | None) -> None:
    try:
        versions = checked()
        with stage(latency / 1000) as (peers, proxy, sources):
            results = played(peers, proxy, sources, rounds, time.monotonic() + seconds)
            told = {peer.name: kept_promises(peer, proxy, sources) for peer in peers if not reads_only(peer)}
    except (Missing, Wrong, AssertionError, OSError, subprocess.SubprocessError) as error:
        # One line: servers, proxy and mounts speak by assertions of several.
        said = str(error).splitlines() or [repr(error)]
        console.print(f"compare: {said[0]}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("compare: interrupted; mounts and servers are ended", style="yellow")
        sys.exit(130)
    text = page(results, told, versions, latency)
    Console().print(Markdown(text))
    if markdown:
        markdown.write_text(text)
    if requests:
        write_requests(requests, results)


def checked() -> dict[str, str]:
    """Versions by name. Raises Missing where something is not there."""
    if not os.path.exists("/dev/fuse"):
        raise Missing("no /dev/fuse: modprobe fuse")
    if os.geteuid() != 0:
        raise Missing("run it as root: a full disk is a tmpfs, and what a daemon wrote is for root to read")
    for program in ("git", "tar", "cmp", "setpriv"):
        if not shutil.which(program):
            raise Missing(f"no {program}: run deploy/system-packages.sh test")
    return {kind.name: kind.version() for kind in PEERS}


@contextmanager
def stage(latency: float) -> Iterator[tuple[list[Peer], Proxy, Sources]]:
    """The server, the proxy and the peers; nothing of it is left behind."""
    with ExitStack() as stack:
        server = MiniStack()
        stack.callback(server.stop)
        base = Path(tempfile.mkdtemp(prefix="agentfs-compare-"))
        stack.callback(remove_tree, base)
        if kind_of_disk(base) == "tmpfs":
            raise Missing(
                f"{base.parent} is in RAM, where no byte is counted as written: set TMPDIR to a disk"
            )
        (base / "sources").mkdir()
        sources = Sources.make(base / "sources")
        proxy = stack.enter_context(Proxy(server.endpoint))
        proxy.add(Latency(latency))
        peers = []
        for kind in PEERS:
            place = base / kind.name.replace(" ", "-")
            peer = kind(place, server.server.through(proxy.url), server.server.client)
            stack.callback(peer.close)
            peers.append(peer)
        yield peers, proxy, sources


def kind_of_disk(path: Path) -> str:
    return subprocess.check_output(["stat", "-f", "-c", "%T", path], text=True, timeout=30).strip()


def reads_only(peer: Peer) -> bool:
    return isinstance(peer, RcloneFull)


def played(peers: list[Peer], proxy: Proxy, sources: Sources, rounds: int, deadline: float) -> Results:
    """Rounds of every peer in turn, each round in another order. The machine's moods strike all alike."""
    results: Results = {}
    longest = 0.0
    for number in range(rounds):
        began = time.monotonic()
        if number and began + longest > deadline:
            console.print(f"no time for round {number + 1}", style="yellow")
            break
        writers = [peer for peer in peers if not reads_only(peer)]
        shift = number % len(writers)
        for peer in writers[shift:] + writers[:shift]:
            console.print(f"round {number + 1}: {peer.name}")
            play(peer, proxy, sources, f"round{number}", results)
            for other in filter(reads_only, peers):
                if isinstance(peer, RcloneWrites):
                    play(other, proxy, sources, peer.prefix, results)
        longest = max(longest, time.monotonic() - began)
    return results


def play(peer: Peer, proxy: Proxy, sources: Sources, prefix: str, results: Results) -> None:
    """All workloads, in an empty prefix; those that read, on what another mount of the same kind left there."""
    peer.prefix = prefix if reads_only(peer) else f"{prefix}-{peer.name.replace(' ', '-')}"
    if not reads_only(peer):
        fill(peer.direct, peer.keys)
    try:
        if not reads_only(peer):
            peer.start()
            settled(peer, proxy, time.monotonic())  # what mounting asks for is not the first workload's
        for workload in WORKLOADS:
            if not (reads_only(peer) and workload.writes):
                figure = measure(peer, proxy, sources, workload)
                results.setdefault(workload.name, {}).setdefault(peer.name, []).append(figure)
                console.print(f"  {workload.name}: {figure.seconds:.2f} s, stored {figure.stored:.2f} s")
    finally:
        peer.close()


def kept_promises(peer: Peer, proxy: Proxy, sources: Sources) -> Promise:
    console.print(f"promises: {peer.name}")
    peer.prefix = f"promises-{peer.name.replace(' ', '-')}"
    return promises(peer, proxy, sources)


def write_requests(directory: Path, results: Results) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for number, (workload, by_peer) in enumerate(results.items()):
        for name, figures in by_peer.items():
            path = directory / f"{number:02}-{name.replace(' ', '-')}"
            path.write_text("\n".join([workload, *figures[-1].log, ""]))


if __name__ == "__main__":
    main()
