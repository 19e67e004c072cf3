"""FaultStore: any store, with the failures of real ones at the turn of a knob."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import trio

from vfs.errors import StoreError, StoreFull, StoreThrottled, StoreUnavailable
from vfs.store.base import Fetched, ListPage, ObjectStore
from vfs.store.layers import Call, Layer, T, Thunk

WRITES = "put|upload_part|copy|copy_part|complete_upload"

MakeError = Callable[[], StoreError]


@dataclass(slots=True)
class Fault:
    """One knob that is turned on. `hits` counts the calls that it spoilt."""

    kind: str
    calls: re.Pattern[str]
    keys: re.Pattern[str]
    count: int | None
    probability: float
    error: MakeError
    seconds: float = 0.0
    until: float = math.inf
    hits: int = 0

    def strikes(self, call: Call, chance: random.Random) -> bool:
        if self.count is not None and self.hits >= self.count:
            return False
        if self.until < math.inf and trio.current_time() >= self.until:
            return False
        if not self.calls.fullmatch(call.name) or not self.keys.search(call.key):
            return False
        if chance.random() >= self.probability:
            return False
        self.hits += 1
        return True


def _unavailable() -> StoreError:
    return StoreUnavailable("a fault was injected")


def _reset() -> StoreError:
    return StoreUnavailable("a fault was injected: connection reset")


def _away() -> StoreError:
    return StoreUnavailable("a fault was injected: nobody answers")


def _full() -> StoreError:
    return StoreFull("a fault was injected: no room")


class FaultStore(Layer):
    """Misbehaves as told, and not at all until then.

    `calls` are regular expressions for whole method names, `keys` are searched in the key or prefix. `count` None
    spoils all matching calls, else only so many; `probability` spoils some, the same ones for the same `seed`.
    """

    def __init__(self, inner: ObjectStore, seed: int = 0) -> None:
        super().__init__(inner)
        self.log: list[Call] = []
        self._chance = random.Random(seed)
        self._faults: list[Fault] = []
        self._pages: dict[tuple[object, ...], ListPage] = {}

    def fail_before(
        self,
        calls: str = ".*",
        *,
        keys: str = "",
        count: int | None = 1,
        probability: float = 1.0,
        error: MakeError = _unavailable,
    ) -> Fault:
        """Fails, and nothing was done."""
        return self._add("before", calls, keys, count=count, probability=probability, error=error)

    def fail_after_apply(
        self,
        calls: str = ".*",
        *,
        keys: str = "",
        count: int | None = 1,
        probability: float = 1.0,
        error: MakeError = _unavailable,
    ) -> Fault:
        """Done, but the answer was lost."""
        return self._add("after", calls, keys, count=count, probability=probability, error=error)

    def slow(
        self,
        calls: str = ".*",
        *,
        seconds: float,
        keys: str = "",
        count: int | None = None,
        probability: float = 1.0,
    ) -> Fault:
        """Answers later."""
        fault = self._add("slow", calls, keys, count=count, probability=probability)
        fault.seconds = seconds
        return fault

    def truncate(self, *, keys: str = "", count: int | None = 1, probability: float = 1.0) -> Fault:
        """`get` gives half of the bytes, as a connection that broke unnoticed."""
        return self._add("truncate", "get", keys, count=count, probability=probability)

    def corrupt(self, *, keys: str = "", count: int | None = 1, probability: float = 1.0) -> Fault:
        """`get` gives one wrong byte."""
        return self._add("corrupt", "get", keys, count=count, probability=probability)

    def reset(
        self, calls: str = "get|" + WRITES, *, keys: str = "", count: int | None = 1, probability: float = 1.0
    ) -> Fault:
        """The connection breaks in the middle of the body: nothing was stored, or what was read is lost."""
        return self._add("reset", calls, keys, count=count, probability=probability, error=_reset)

    def throttle(
        self, calls: str = ".*", *, keys: str = "", count: int | None = 1, retry_after: float | None = None
    ) -> Fault:
        """A burst of 503 SlowDown."""
        busy = partial(StoreThrottled, "a fault was injected: slow down", retry_after=retry_after)
        return self._add("before", calls, keys, count=count, error=busy)

    def away(self, seconds: float = math.inf, calls: str = ".*") -> Fault:
        """Nobody answers from now on, for so many seconds."""
        fault = self._add("before", calls, "", count=None, error=_away)
        fault.until = trio.current_time() + seconds
        return fault

    def stale_list(self, *, keys: str = "", count: int | None = None, probability: float = 1.0) -> Fault:
        """`list` answers what it answered last time, where it was asked the same before."""
        return self._add("stale", "list", keys, count=count, probability=probability)

    def full(self, calls: str = WRITES, *, keys: str = "", count: int | None = None) -> Fault:
        """No room for anything that is written."""
        return self._add("before", calls, keys, count=count, error=_full)

    def clear(self) -> None:
        """All knobs off."""
        self._faults.clear()

    def _add(
        self,
        kind: str,
        calls: str,
        keys: str,
        *,
        count: int | None,
        probability: float = 1.0,
        error: MakeError = _unavailable,
    ) -> Fault:
        fault = Fault(kind, re.compile(calls), re.compile(keys), count, probability, error)
        self._faults.append(fault)
        return fault

    async def list(
        self, prefix: str, *, delimiter: str = "", token: str | None = None, limit: int = 1000
    ) -> ListPage:
        asked = (prefix, delimiter, token, limit)
        struck: dict[str, Fault] = {}

        async def answer() -> ListPage:
            page = await self.inner.list(prefix, delimiter=delimiter, token=token, limit=limit)
            if "stale" not in struck:
                self._pages[asked] = page
            return self._pages.get(asked, page)

        return await self._spoilt(Call("list", prefix), answer, struck)

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        return await self._spoilt(call, thunk, {})

    async def _spoilt(self, call: Call, thunk: Thunk[T], struck: dict[str, Fault]) -> T:
        self.log.append(call)
        struck |= {fault.kind: fault for fault in self._faults if fault.strikes(call, self._chance)}
        if "slow" in struck:
            await trio.sleep(struck["slow"].seconds)
        if "before" in struck:
            raise struck["before"].error()
        if "reset" in struck and call.name != "get":
            raise struck["reset"].error()
        result = await thunk()
        for kind in ("after", "reset"):
            if kind in struck:
                raise struck[kind].error()
        if isinstance(result, Fetched):
            return cast("T", replace(result, data=_spoilt_data(bytes(result.data), struck)))
        return result


def _spoilt_data(data: bytes, struck: Mapping[str, Fault]) -> bytes:
    if "truncate" in struck:
        data = data[: len(data) // 2]
    if "corrupt" in struck and data:
        middle = len(data) // 2
        data = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
    return data
