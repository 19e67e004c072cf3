"""One mount: from pyfuse3.init to the last reply."""

from __future__ import annotations

import os
from collections.abc import Callable

import pyfuse3
import structlog
import trio

from vfs.config import Config
from vfs.core.filesystem import FileSystem
from vfs.errors import ConfigError
from vfs.fuse.adapter import Adapter
from vfs.fuse.fence import FenceStatistics
from vfs.fuse.heartbeat import Heartbeat, statfs_of
from vfs.fuse.kernel import mount_options, tune
from vfs.fuse.notify import Notifier

log = structlog.get_logger()

ANSWER_TIMEOUT = 20.0
"""Seconds in which a new mount must answer its first request."""


class Session:
    """What `serve` runs; one per process, because pyfuse3 has one session per process."""

    adapter: Adapter | None = None


async def serve(fs: FileSystem, config: Config, *, on_ready: Callable[[], None]) -> None:
    """Mounts, calls `on_ready` once the kernel's requests are answered, returns when unmounted.

    Raises ConfigError when mounting fails. Unmounts on the way out, lazily if programs still use the mount.
    """
    adapter = Session.adapter = Adapter(fs)
    try:
        pyfuse3.init(adapter, str(config.mountpoint), mount_options(config))
    except RuntimeError as error:
        raise ConfigError(
            f"cannot mount on {config.mountpoint}: {error}; `agentfs doctor` says what is missing"
        ) from error
    notifier = Notifier()
    notifier.start()
    heartbeat = Heartbeat(statfs_of(config.mountpoint))
    heartbeat.start()
    fs.dropped = notifier.name_gone
    fs.outdated = notifier.attributes_changed
    fs.kernel_told = notifier.told
    fs.all_told = notifier.all_told
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeat.beat)
            nursery.start_soon(_announce, config, on_ready)
            await pyfuse3.main(min_tasks=4, max_tasks=config.fuse_tasks)
            nursery.cancel_scope.cancel()
    finally:
        heartbeat.stop()
        notifier.stop()
        Session.adapter = None
        pyfuse3.close(unmount=True)


async def _announce(config: Config, on_ready: Callable[[], None]) -> None:
    try:
        with trio.fail_after(ANSWER_TIMEOUT):
            status = await trio.to_thread.run_sync(os.stat, config.mountpoint, abandon_on_cancel=True)
    except OSError as error:
        log.warning("unmounted before it was ready", mountpoint=str(config.mountpoint), error=str(error))
        return
    except trio.TooSlowError as error:
        raise ConfigError(
            f"{config.mountpoint}: the new mount did not answer in {ANSWER_TIMEOUT:.0f} s"
        ) from error
    tune(status.st_dev)
    on_ready()


def stop_serving() -> None:
    """Makes `serve` return. To be called from the trio loop."""
    if Session.adapter is not None:
        pyfuse3.terminate()


def request_statistics() -> FenceStatistics | None:
    """Counts of FUSE requests while a mount is served."""
    return Session.adapter.fence.statistics() if Session.adapter is not None else None
