"""The shared cache in Redis, the only package that knows the redis library.

`location` reads its URL, `client` talks in worker threads, `scripts` is what Redis does itself, `link` is the way
there from the event loop with its `breaker`, `feed` follows the changes, and `cache` is the SharedCache.
"""

from vfs.meta.redis.cache import RedisCache
from vfs.meta.redis.limits import Limits
from vfs.meta.redis.location import Location

__all__ = ["Limits", "Location", "RedisCache"]
