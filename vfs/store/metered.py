"""Numbers about a store's calls, for `status` and metrics: pulled from `statistics()`, pushed nowhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vfs.errors import VfsError
from vfs.store.base import Fetched, ObjectStore
from vfs.store.layers import Call, Layer, T, Thunk


@dataclass(frozen=True, slots=True)
class CallStatistics:
    """Of one kind of call: how many ended, seconds in all and at worst, and errors by the class's name."""

    ended: int
    seconds: float
    longest: float
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """`sent` and `received` are bytes of bodies; `calls` by the method's name."""

    in_flight: int
    sent: int
    received: int
    calls: Mapping[str, CallStatistics]


@dataclass(slots=True)
class _Tally:
    ended: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)


class Metered(Layer):
    """Counts calls, errors, bytes and time. A call that was cancelled counts as ended, not as an error."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._in_flight = 0
        self._sent = 0
        self._received = 0
        self._tallies: dict[str, _Tally] = {}

    def statistics(self) -> StoreStatistics:
        calls = {
            name: CallStatistics(
                tally.ended, tally.seconds, tally.longest, MappingProxyType(dict(tally.errors))
            )
            for name, tally in self._tallies.items()
        }
        return StoreStatistics(self._in_flight, self._sent, self._received, MappingProxyType(calls))

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        tally = self._tallies.setdefault(call.name, _Tally())
        begun = time.perf_counter()
        self._in_flight += 1
        try:
            result = await thunk()
        except VfsError as error:
            tally.errors[type(error).__name__] += 1
            raise
        finally:
            self._in_flight -= 1
            taken = time.perf_counter() - begun
            tally.ended += 1
            tally.seconds += taken
            tally.longest = max(tally.longest, taken)
        if isinstance(result, Fetched):
            self._received += len(result.data)
        elif call.name in ("put", "upload_part"):
            self._sent += call.size or 0
        return result
