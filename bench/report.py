"""The figures of bench/compare.py as two tables of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median

from bench.promises import Promise
from bench.workloads import MIB, Figure

Results = dict[str, dict[str, list[Figure]]]
"""Figures of each round, by workload and peer."""

OURS = "agentfs"
SHORT = {
    "PutObject": "PUT",
    "CopyObject": "COPY",
    "GetObject": "GET",
    "HeadObject": "HEAD",
    "ListObjects": "LIST",
    "ListObjectsV2": "LIST",
    "DeleteObject": "DELETE",
    "DeleteObjects": "DELETE of many",
    "CreateMultipartUpload": "multipart",
    "UploadPart": "multipart",
    "UploadPartCopy": "multipart",
    "CompleteMultipartUpload": "multipart",
}


def page(results: Results, told: Mapping[str, Promise], versions: Mapping[str, str], latency: float) -> str:
    names = list(versions)
    rounds = max(len(figures) for by_peer in results.values() for figures in by_peer.values())
    head = ["", *(f"{name} {version}" for name, version in versions.items())]
    rows = [[name, *(_cell(by_peer, peer) for peer in names)] for name, by_peer in results.items()]
    writers = list(told)
    facts = [
        ["64 MiB are in the store when `cp` ends", *(_yes(told[name].closed) for name in writers)],
        ["and if the sandbox ends at that moment", *(_kept(told[name].survived) for name in writers)],
        ["`cp` while the store answers 503 to writes", *(told[name].storm for name in writers)],
        ["`cp` of 64 MiB, 56 MiB free for temporary files", *(told[name].full for name in writers)],
        ["written to the local disk, of 64 MiB in", *(_disk(results, name, "64 MiB in") for name in writers)],
        ["written to the local disk by the clone", *(_disk(results, name, "clone") for name in writers)],
    ]
    return "\n".join([
        f"Medians of {rounds} rounds, {latency:g} ms for each request:", "",
        *_table(head, rows), "",
        *_table(["", *writers], facts), "",
    ])  # fmt: skip


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(head), "|---" * len(head) + "|", *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(by_peer: Mapping[str, list[Figure]], peer: str) -> str:
    if peer not in by_peer:
        return ""
    ours, theirs = by_peer[OURS], by_peer[peer]
    told = median(figure.seconds / own.seconds for figure, own in zip(theirs, ours, strict=True))
    stored = median(figure.stored / own.stored for figure, own in zip(theirs, ours, strict=True))
    late = f", stored {stored:.1f}x" if _late(theirs) else ""
    return f"**{told:.1f}x**{late}; {_requests(theirs)}"


def _late(figures: list[Figure]) -> bool:
    return median(figure.stored - figure.seconds for figure in figures) > 1.0


def _requests(figures: list[Figure]) -> str:
    """Of the round with the median number; `~` where rounds differ."""
    ordered = sorted(figures, key=lambda figure: figure.kinds.total())
    chosen = ordered[len(ordered) // 2]
    kinds: Counter[str] = Counter()
    for kind, count in chosen.kinds.items():
        kinds[SHORT.get(kind, kind)] += count
    about = "" if ordered[0].kinds == ordered[-1].kinds else "~"
    total = chosen.kinds.total()
    if total == 0:
        return "none"
    parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{about}{parts}"


def _disk(results: Results, peer: str, workload: str) -> str:
    figures = next(by_peer[peer] for name, by_peer in results.items() if workload in name)
    written = median(figure.written for figure in figures)
    kept = median(figure.kept for figure in figures)
    return f"{_mib(written)}, {_mib(kept)} stay" if written else "0"


def _mib(size: float) -> str:
    return f"{size / MIB:.1f} MiB"


def _yes(true: bool) -> str:
    return "yes" if true else "**no**"


def _kept(true: bool) -> str:
    return "they are kept" if true else "**they are lost**"
