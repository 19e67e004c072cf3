"""`agentfs doctor`: everything a mount needs, tried; for each failure the command that mends it."""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
import secrets
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from vfs.config import MIB, Config
from vfs.daemon.mountpoint import Host, no_allow_other, no_device, no_fusermount, no_privilege
from vfs.daemon.runtime_dir import opened, runtime_dir
from vfs.daemon.values import show_size
from vfs.errors import ConfigError, ObjectNotFound, StoreError, VfsError
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.store.opening import describe, open_store, prepare, survey
from vfs.types import Key

OVERHEAD = 120 * MIB
"""What the process takes beside `ram_limit`."""

PROBE = ".agentfs-doctor"
STORE_SECONDS = 30.0

_BODY = bytes(range(256)) * 64


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. `state` is ok, note or failed; `fix` is what to do about a failure."""

    name: str
    state: str
    found: str
    fix: str = ""

    @property
    def failed(self) -> bool:
        return self.state == "failed"


def examine(config: Config, host: Host | None = None) -> list[Check]:
    """All checks, in the order in which a failure matters."""
    host = host or Host.here()
    return [
        _of("fuse device", no_device(host), str(host.device)),
        _of("permission to mount", no_privilege(host), "root" if host.euid == 0 else "through fusermount3"),
        _fusermount(host),
        _allow_other(config, host),
        Check("versions", "ok", _versions()),
        _runtime_dir(),
        _memory(config),
        *trio.run(_store_checks, config),
    ]


def render(checks: Sequence[Check]) -> str:
    """A line for each check, and below a failure what to do."""
    lines = []
    width = max(len(check.name) for check in checks)
    for check in checks:
        lines.append(f"{check.state:6}  {check.name:{width}}  {check.found}")
        if check.fix:
            lines.append(f"{'':6}  {'':{width}}  fix: {check.fix}")
    bad = sum(check.failed for check in checks)
    lines.append(f"{bad} of {len(checks)} checks failed" if bad else "all is well")
    return "\n".join(lines)


def cgroup_limit(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """The memory limit that holds for this process, bytes: the least of its cgroup and those above; None if none."""
    limits = []
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base, name = (root, "memory.max") if not controllers else (root / "memory", "memory.limit_in_bytes")
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            file = base.joinpath(*parts[:depth], name)
            text = file.read_text().strip() if file.is_file() else "max"
            # cgroup v1 says "none" as the largest multiple of a page below 2^63.
            if text.isdigit() and int(text) < 1 << 60:
                limits.append(int(text))
    return min(limits, default=None)


def _of(name: str, problem: str, found: str) -> Check:
    """From a `what is wrong: what to do` of vfs.daemon.mountpoint."""
    if not problem:
        return Check(name, "ok", found)
    what, _, fix = problem.partition(": ")
    return Check(name, "failed", what, fix)


def _fusermount(host: Host) -> Check:
    if host.euid == 0 and host.fusermount is None:
        fix = "run `apt-get install fuse3`"
        return Check("fusermount3", "note", "missing; root mounts without it, others cannot", fix)
    return _of("fusermount3", no_fusermount(host), host.fusermount or "")


def _allow_other(config: Config, host: Host) -> Check:
    problem = no_allow_other(host)
    if problem and config.allow_other:
        return _of("allow_other", problem, "")
    return Check("allow_other", "note" if problem else "ok", "refused to you" if problem else "allowed")


def _versions() -> str:
    found = [f"Linux {platform.release()}", f"Python {platform.python_version()}"]
    tool = shutil.which("fusermount3")
    if tool:
        said = subprocess.run(
            [tool, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
        number = re.search(r"\d+\.\d+(\.\d+)?", said)
        found.append(f"fuse {number[0]}" if number else "fuse of unknown version")
    library = ctypes.util.find_library("fuse3")
    return ", ".join([*found, library or "libfuse3 not found by name"])


def _runtime_dir() -> Check:
    try:
        with opened(runtime_dir(), create=True) as where:
            return Check("runtime directory", "ok", str(where.path))
    except (ConfigError, OSError) as error:
        what, _, fix = str(error).rpartition(": ")
        return Check("runtime directory", "failed", what, fix)


def _memory(config: Config) -> Check:
    limit, need = cgroup_limit(), config.ram_limit + OVERHEAD
    words = f"ram_limit {show_size(config.ram_limit)} + {show_size(OVERHEAD)}"
    if limit is None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit, whose = total, "this machine has"
    else:
        whose = "the cgroup allows"
    if need <= limit:
        return Check("memory", "ok", f"{words}; {whose} {show_size(limit)}")
    fits = max(0, limit - OVERHEAD) // MIB
    fix = (
        f"mount with --ram-limit {fits}M"
        if fits >= 16
        else f"allow it at least {show_size(16 * MIB + OVERHEAD)}"
    )
    return Check("memory", "failed", f"{words} is more than {whose} ({show_size(limit)})", fix)


async def _store_checks(config: Config) -> list[Check]:
    """Opens the store and uses it as a mount does, on one object that is deleted again."""
    name = describe(config.store)
    try:
        store = open_store(config.store, config)
    except VfsError as error:
        what, _, fix = str(error).partition(": ")
        return [Check("store", "failed", what, fix or "choose another with --store URL")]
    checks = [Check("store", "ok", name)]
    key = Key(f"{PROBE}/{secrets.token_hex(8)}")
    try:
        await prepare(store, config)
        for what, attempt in _attempts(store, key):
            check = await _attempt(what, attempt, name)
            checks.append(check)
            if check.failed and what == "store: write":
                break  # without an object there is nothing to read
        checks += await _abilities(store, config)
    except VfsError as error:
        what, _, fix = str(error).rpartition(": ")
        checks.append(Check("store: access", "failed", what, fix))
    finally:
        await store.aclose()
    return checks


def _attempts(store: ObjectStore, key: Key) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
    copied = Key(f"{key}-copy")

    async def write() -> str:
        await store.put(key, (_BODY,), ObjectMeta({"probe": "1"}))
        return f"{len(_BODY)} bytes"

    async def read() -> str:
        fetched = await store.get(key)
        _demand(bytes(fetched.data) == _BODY, "other bytes came back than were written")
        _demand((await store.head(key)).size == len(_BODY), "the size is wrong")
        return "the same bytes"

    async def ranged() -> str:
        fetched = await store.get(key, 1000, 100)
        _demand(bytes(fetched.data) == _BODY[1000:1100], "a part of an object came back wrong")
        return "bytes 1000 to 1099"

    async def metadata() -> str:
        meta = (await store.head(key)).meta
        _demand(meta is not None and meta.metadata.get("probe") == "1", "metadata does not come back")
        return "kept"

    async def listing() -> str:
        page = await store.list(f"{PROBE}/")
        _demand(key in [entry.key for entry in page.objects], "what was written is not listed")
        return f"{len(page.objects)} objects"

    async def copy() -> str:
        await store.copy(key, copied)
        _demand(bytes((await store.get(copied)).data) == _BODY, "a copy differs")
        return "by the store itself"

    async def delete() -> str:
        await store.delete(key)
        await store.delete(copied)
        try:
            await store.head(key)
        except ObjectNotFound:
            return "gone"
        raise StoreError("what was deleted is still there")

    steps = (write, read, ranged, metadata, listing, copy, delete)
    return [(f"store: {step.__name__}", step) for step in steps]


async def _attempt(name: str, attempt: Callable[[], Awaitable[str]], store: str) -> Check:
    try:
        with trio.fail_after(STORE_SECONDS):
            return Check(name, "ok", await attempt())
    except trio.TooSlowError:
        return Check(
            name, "failed", f"no answer within {STORE_SECONDS:g} s", f"is {store} reachable from here?"
        )
    except StoreError as error:
        return Check(name, "failed", str(error), f"give this user the right to it in {store}, and room")


async def _abilities(store: ObjectStore, config: Config) -> list[Check]:
    rows = await survey(store, config)
    if rows:
        return [
            Check(f"store: {feature}", "note", f"{found}: {follows}")
            if follows
            else Check(f"store: {feature}", "ok", found)
            for feature, found, follows in rows
        ]
    able = store.capabilities
    lacking = {
        "no UploadPartCopy: a change in a large file uploads all of it": not able.copy_part,
        "no conditional put: two hosts that write one file at once are not noticed": not able.conditional_put,
        "no rename: renaming a directory copies all that is in it": not able.rename,
    }
    notes = [text for text, lacks in lacking.items() if lacks]
    return [Check("store: abilities", "note", text) for text in notes] or [
        Check("store: abilities", "ok", "all")
    ]


def _demand(condition: bool, otherwise: str) -> None:
    if not condition:
        raise StoreError(otherwise)
