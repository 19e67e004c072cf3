"""`agentfs gc`: clears away what killed mounts left in the store, or shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from vfs.config import Config
from vfs.core.garbage import Garbage, Item
from vfs.errors import StoreError
from vfs.layout import Layout
from vfs.store.opening import open_store, prepare


@dataclass(slots=True)
class Report:
    """What was found, in order, and what of it could not be removed."""

    found: list[Item] = field(default_factory=list)
    failed: list[tuple[Item, str]] = field(default_factory=list)


def collect(config: Config, older_than: float, *, dry_run: bool, tell: Callable[[Item], None]) -> Report:
    """Removes what is older than so many seconds; `tell` hears of each as it is found. Raises VfsError."""
    return trio.run(_collect, config, older_than, dry_run, tell)


async def _collect(config: Config, older_than: float, dry_run: bool, tell: Callable[[Item], None]) -> Report:
    report = Report()
    store = open_store(config.store, config)
    try:
        await prepare(store, config)
        garbage = Garbage(store, Layout(config.user, store.capabilities.max_key))
        async for item in garbage.find(older_than):
            report.found.append(item)
            tell(item)
            if dry_run:
                continue
            try:
                await garbage.remove(item)
            except StoreError as error:
                report.failed.append((item, str(error)))
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(config.attempt_timeout):
            await store.aclose()
    return report
