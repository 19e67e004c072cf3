"""From a Redis URL to the cache that mounts share."""

from __future__ import annotations

from vfs.config import Config
from vfs.meta.shared import SharedCache
from vfs.store.opening import identity

TTL_MARGIN = 60.0


def open_shared(config: Config) -> SharedCache | None:
    """None if none is set. Connects in the background: a Redis that is away delays nobody. Raises ConfigError."""
    if not config.redis:
        return None
    from vfs.meta.redis import Limits, Location, RedisCache  # 60 ms that a mount without it need not wait for

    limits = Limits(
        ttl=max(config.workspace_ttl, config.memory_ttl) + TTL_MARGIN, content_size=config.shared_content
    )
    return RedisCache(Location.parse(config.redis), identity(config.store), config.user, limits)
