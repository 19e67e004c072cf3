"""Who stored a name lately: of two that did, the one who is heard last need not be the last one.

Mounts tell of what they stored when they know that it is, which may be a while later: the store's answer was slow, or
lost and asked for again, or Redis did not answer. Where the order cannot be told the name is contested, and only the
store knows. A writer finds that out for all others, as long as one of the two is there.
"""

from __future__ import annotations

import trio
from cachetools import TTLCache

MOST = 4096
"""Names remembered, of each kind."""

NEWS_SECONDS = 2.0
"""Longer than the news of a write takes."""

_NO_SINGLE_OTHER = "*"


class Writers:
    """`longest` is how many seconds may lie between a write in the store and the news of it."""

    def __init__(self, longest: float) -> None:
        self._own: TTLCache[str, bool] = TTLCache(MOST, longest, trio.current_time)
        self._heard: TTLCache[str, bool] = TTLCache(MOST, longest, trio.current_time)
        self._last: TTLCache[str, str] = TTLCache(MOST, NEWS_SECONDS, trio.current_time)

    def wrote(self, path: str) -> bool:
        """This mount did, and tells of it now. True: another one may have done so later."""
        self._own[path] = True
        self._last[path] = _NO_SINGLE_OTHER
        return self._heard.pop(path, False)

    def heard(self, path: str, origin: str) -> bool:
        """Another mount did. True: this one, or a third one, may have done so later. One alone is heard in order."""
        by = _NO_SINGLE_OTHER if self._own.pop(path, False) else self._last.get(path, origin)
        self._last[path] = origin if by == origin else _NO_SINGLE_OTHER
        self._heard[path] = True
        return by != origin
