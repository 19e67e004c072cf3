"""`agentfs status`: what each daemon says of itself, and what the kernel says of those that say nothing."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vfs.daemon.control_client import Hung, NoDaemon, connected, daemon_of
from vfs.daemon.glance import glance
from vfs.daemon.mount_table import MountEntry, mount_table, mounted_at
from vfs.daemon.runtime_dir import opened, search_places
from vfs.daemon.values import show_duration, show_size
from vfs.errors import ConfigError, VfsError

Report = Mapping[str, Any]

SHOWN = (
    *("user", "store", "pid", "state", "uptime", "open_files", "dirty_files", "dirty_bytes", "ram_used"),
    *("ram_limit", "rss", "inodes", "cached_attributes", "requests", "retries", "conflicts", "log_file"),
    *("store_state", "redis_state", "last_error"),
)
"""The fields of the display, in order. --json has more."""

IN_BRIEF = ("user", "pid", "state", "uptime", "open_files", "dirty_bytes", "ram_used", "rss", "last_error")

WELL = ("starting", "serving", "stopping")


def status_of(point: Path) -> Report:
    """One mount. Raises ConfigError when there is none of ours."""
    entry = mounted_at(point)
    if entry is None or not entry.is_agentfs:
        what = "not mounted" if entry is None else f"not an agentfs mount ({entry.fstype})"
        raise ConfigError(f"{point} is {what}: `agentfs status` lists the mounts, `agentfs mount` makes one")
    return _asked(entry)


def status_of_all() -> list[Report]:
    """Every mount of this user, of every user for root. Sockets that nobody listens on are removed."""
    mine = [entry for entry in mount_table() if entry.is_agentfs and os.geteuid() in (0, entry.owner)]
    reports = [_asked(entry) for entry in mine]
    known = {report.get("pid") for report in reports}
    # A daemon whose mount is gone may still be storing what is left.
    return reports + [report for report in _from_sockets() if report.get("pid") not in known]


def one_line(report: Report) -> str:
    """For a reader that is not a terminal: the same words in the same order, quoted where they hold blanks."""
    words = [f"{name}={_quoted(value)}" for name, value in _shown(report)]
    return " ".join([_quoted(str(report["mountpoint"])), *words])


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"""[\s"'\\]""", value) else value


def table(reports: Sequence[Report]) -> Any:
    """For a terminal, a rich table: of one mount everything, of several a line each."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    sheet = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    if len(reports) == 1:
        sheet.add_column("mountpoint")
        sheet.add_column(Text(str(reports[0]["mountpoint"])), overflow="fold")
        for name, value in _shown(reports[0]):
            sheet.add_row(name.replace("_", " "), Text(value))
        return sheet
    sheet.add_column("mountpoint", overflow="fold")
    for name in IN_BRIEF:
        sheet.add_column(name.replace("_", " "), overflow="fold")
    for report in reports:
        row = dict(_shown(report))
        sheet.add_row(Text(str(report["mountpoint"])), *(Text(row.get(name, "")) for name in IN_BRIEF))
    return sheet


def brief(report: Report) -> str:
    """`user=u1 pid=123`: who serves a mount, for an error message."""
    return " ".join(f"{name}={report[name]}" for name in ("user", "pid") if report.get(name))


def describe(entry: MountEntry) -> str:
    """Who serves it, as far as that can be found out; empty if not at all."""
    return brief(_asked(entry))


def _asked(entry: MountEntry) -> Report:
    try:
        with daemon_of(entry.point, entry.owner) as client:
            try:
                return {**client.ask("status"), "mountpoint": str(entry.point), "pid": client.pid}
            except Hung as error:
                return _mute(entry, "hung", f"{error}: `agentfs umount --force {entry.point}`", client.pid)
    except Hung as error:
        return _mute(entry, "hung", f"{error}: `agentfs umount --force {entry.point}`")
    except VfsError as error:
        seen = glance(entry.point)
        if seen.dead or seen.stuck:
            state = "dead" if seen.dead else "hung"
            return _mute(entry, state, f"its daemon is gone: `agentfs umount --force {entry.point}`")
        return _mute(entry, "unreachable", f"mounted, but its daemon cannot be asked: {error}")


def _mute(entry: MountEntry, state: str, error: str, pid: int = 0) -> Report:
    return {"mountpoint": str(entry.point), "state": state, "pid": pid, "last_error": error}


def _from_sockets() -> list[Report]:
    reports: list[Report] = []
    for path, owner in search_places():
        try:
            with opened(path, owner=owner) as where:
                for name in where.sockets():
                    try:
                        with connected(where, name) as client:
                            reports.append(client.ask("status"))
                    except NoDaemon:
                        where.remove(name)
                    except VfsError as error:
                        # Not a mount any more, so there is nothing to force; it is only told.
                        reports.append({"mountpoint": f"({name})", "state": "hung", "last_error": str(error)})
        except (FileNotFoundError, ConfigError):
            continue
    return reports


def _shown(report: Report) -> list[tuple[str, str]]:
    """Names and values in the order of the display; what is unknown is left out."""
    sizes = ("dirty_bytes", "ram_used", "ram_limit", "rss")
    rows = []
    health = report.get("store_health") or {}
    report = {**report, "retries": health.get("retries") or None, "store_state": _away(health)}
    report = {**report, "redis_state": _away(report.get("shared") or {})}
    for name in SHOWN:
        value = report.get(name)
        if value in (None, "", {}) or (name == "pid" and not value):
            continue
        if name in sizes and isinstance(value, int | float):
            text = show_size(value)
        elif name == "uptime" and isinstance(value, int | float):
            text = show_duration(value)
        elif name == "requests":
            text = str(_total(value))
        elif name == "conflicts":
            text = str(value.get("kept", 0))
        else:
            text = str(value)
        rows.append((name, text))
    return rows


def _away(health: Mapping[str, Any]) -> str:
    """Only what is not as it should be; `--json` has it always."""
    if health.get("state") != "away":
        return ""
    return f"away for {show_duration(max(0.0, time.time() - health.get('since', 0.0)))}: {health.get('cause', '')}"


def _total(requests: object) -> int:
    counts = requests.get("requests", {}) if isinstance(requests, dict) else {}
    return sum(count for count in counts.values() if isinstance(count, int))
