"""FaultStore: any store, with the failures of real ones at the turn of a knob."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import trio

from vfs.errors import StoreError, StoreFull, StoreUnavailable
from vfs.store.base import Fetched, ObjectStore
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
    hits: int = 0

    def strikes(self, call: Call, chance: random.Random) -> bool:
        if self.count is not None and self.hits >= self.count:
            return False
        if not self.calls.fullmatch(call.name) or not self.keys.search(call.key):
            return False
        if chance.random() >= self.probability:
            return False
        self.hits += 1
        return True


def _unavailable() -> StoreError:
    return StoreUnavailable("a fault was injected")


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

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        self.log.append(call)
        struck = {fault.kind: fault for fault in self._faults if fault.strikes(call, self._chance)}
        if "slow" in struck:
            await trio.sleep(struck["slow"].seconds)
        if "before" in struck:
            raise struck["before"].error()
        result = await thunk()
        if "after" in struck:
            raise struck["after"].error()
        if "truncate" in struck and isinstance(result, Fetched):
            return cast("T", replace(result, data=bytes(result.data[: len(result.data) // 2])))
        return result
