"""What is done on each mount, by programs that everybody has, and what is noted of it."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bench.peers import Peer
from tests.proxy import Counting, Proxy
from tests.servers.client import Client

MIB = 1 << 20
SMALL = 200
BIG = 64 * MIB
LISTED = 1000
CLONED = 300
UNPACKED = 100

QUIET_SECONDS = 0.3
STORED_SECONDS = 60.0


class Wrong(Exception):
    """A program failed on a mount, or what it read there is not what was written."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the programs read, on the local disk."""

    base: Path
    small: Path
    big: Path
    tail: Path
    repo: Path
    tar: Path

    @classmethod
    def make(cls, base: Path) -> Sources:
        made = cls(base, *(base / name for name in ("small", "big", "tail", "repo", "files.tar")))
        _tree(made.small, SMALL, 1, lambda _: 4096)
        made.big.write_bytes(random.Random(0).randbytes(BIG))
        made.tail.write_bytes(b"x" * 199 + b"\n")
        _tree(made.repo, CLONED, 20, lambda chance: chance.randrange(200, 12_000))
        git = ["git", "-C", str(made.repo), "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run([*git, *words], check=True, timeout=60, capture_output=True)
        _tree(base / "files", UNPACKED, 10, lambda chance: chance.randrange(200, 12_000))
        subprocess.run(["tar", "-C", base, "-cf", made.tar, "files"], check=True, timeout=60)
        return made

    def digest(self) -> str:
        """Of all small files, one after the other."""
        return sha256(b"".join(path.read_bytes() for path in sorted(self.small.iterdir()))).hexdigest()


def _tree(root: Path, files: int, directories: int, size: Callable[[random.Random], int]) -> None:
    """Files in as many directories below `root`, the same in every run; in `root` itself where that is one."""
    chance = random.Random(files)
    for number in range(files):
        parent = root / f"d{number % directories:02}" if directories > 1 else root
        parent.mkdir(parents=True, exist_ok=True)
        (parent / f"f{number:04}").write_bytes(chance.randbytes(size(chance)))


def fill(client: Client, prefix: str) -> None:
    """Files that another program has stored, with the attributes that all of these programs read."""
    headers = {"x-amz-meta-mode": "33188", "x-amz-meta-mtime": "1700000000.5"}
    headers |= {"x-amz-meta-uid": str(os.getuid()), "x-amz-meta-gid": str(os.getgid())}
    # s3fs, told to look for no other program's directories, needs this one.
    client.put(f"{prefix}listed/", headers=headers | {"x-amz-meta-mode": "16877"})
    with ThreadPoolExecutor(8) as pool:
        keys = [f"{prefix}listed/f{number:04}" for number in range(LISTED)]
        list(pool.map(lambda key: client.put(key, b"x" * 100, headers), keys))


@dataclass(frozen=True, slots=True)
class Workload:
    """`work` is a program; `cold` remounts before it, with nothing cached. `same` is what must have come out."""

    name: str
    work: Callable[[Path, Sources], list[str | Path]]
    cold: bool = False
    writes: bool = False
    same: Callable[[str, Sources], bool] = lambda said, sources: True


def _copied(_: str, sources: Sources) -> bool:
    """All but the line that was appended."""
    done = subprocess.run(["cmp", "-n", str(BIG), sources.big, sources.base / "out"], timeout=60, check=False)
    return done.returncode == 0


WORKLOADS: tuple[Workload, ...] = (
    Workload(
        f"`cp -r` of {SMALL} files of 4 KiB",
        lambda root, from_: ["cp", "-r", from_.small, root / "small"],
        writes=True,
    ),
    Workload("`mv` of their directory", lambda root, _: ["mv", root / "small", root / "moved"], writes=True),
    Workload("`cp` of 64 MiB in", lambda root, from_: ["cp", from_.big, root / "big"], writes=True),
    Workload(
        f"`git clone`, {CLONED} files",
        lambda root, from_: ["git", "clone", "-q", f"file://{from_.repo}", root / "clone"],
        writes=True,
    ),
    Workload(
        f"`tar x`, {UNPACKED} files",
        lambda root, from_: ["tar", "-C", root, "-xf", from_.tar],
        writes=True,
    ),
    Workload(
        "200 bytes appended to the 64 MiB, cold",
        lambda root, from_: ["dd", f"if={from_.tail}", f"of={root}/big", "oflag=append", "conv=notrunc"],
        cold=True,
        writes=True,
    ),
    Workload(
        "`cp` of 64 MiB out, cold",
        lambda root, from_: ["cp", root / "big", from_.base / "out"],
        cold=True,
        same=_copied,
    ),
    Workload(
        f"`cat` of the {SMALL} files, cold",
        lambda root, _: ["sh", "-c", f"cat '{root}'/moved/* | sha256sum"],
        cold=True,
        same=lambda said, sources: said.split()[0] == sources.digest(),
    ),
    Workload(
        f"`ls -l` of {LISTED:,}, cold",
        lambda root, _: ["ls", "-l", root / "listed"],
        cold=True,
        same=lambda said, _: len(said.splitlines()) == LISTED + 1,
    ),
    Workload("`ls -l` again", lambda root, _: ["ls", "-l", root / "listed"]),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One workload, once. `seconds` until the program ended, `stored` until nothing more was to be uploaded."""

    kinds: Counter[str]
    seconds: float
    stored: float
    written: int
    kept: int
    moved: int
    log: tuple[str, ...]


def measure(peer: Peer, proxy: Proxy, sources: Sources, workload: Workload) -> Figure:
    """Raises Wrong when the program fails or the result is not right."""
    if workload.cold:
        peer.stop()
        peer.start()
        settled(peer, proxy, time.monotonic())
    before = peer.written()
    with proxy.counting() as counts:
        began = time.monotonic()
        done = peer.run(*workload.work(peer.root, sources))
        seconds = time.monotonic() - began
        stored = max(seconds, settled(peer, proxy, began))
    if done.returncode != 0 or not workload.same(done.stdout, sources):
        raise Wrong(f"{workload.name} on {peer.name}: {done.returncode} {done.stderr.strip()[:300]}")
    return Figure(
        Counter(counts.kinds),
        seconds,
        stored,
        peer.written() - before,
        peer.kept(),
        counts.sent + counts.received,
        logged(counts),
    )


def settled(peer: Peer, proxy: Proxy, began: float) -> float:
    """Returns when nothing is under way or waiting: seconds from `began` until that was so."""
    deadline = time.monotonic() + STORED_SECONDS
    seen, last = len(proxy.book), time.monotonic()
    while time.monotonic() - last < QUIET_SECONDS:
        if time.monotonic() > deadline:
            raise Wrong(f"{peer.name} is not done {STORED_SECONDS:.0f} s later")
        if peer.pending() or len(proxy.book) != seen or not proxy.book.wait_idle(0.0):
            seen, last = len(proxy.book), time.monotonic()
        time.sleep(0.02)
    return last - began


def logged(counts: Counting) -> tuple[str, ...]:
    return tuple(f"{one.status} {one.kind} {one.key or one.target}" for one in counts.requests)
