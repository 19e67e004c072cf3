"""Retry: a call that got no answer is made again, until it is answered or its time is up.

Which calls may be repeated after an attempt of which nobody knows whether it was applied:

- Questions, and `upload_part`, `copy_part`, `delete`, `delete_many`, `abort_upload`, an unconditional `put` or
  `copy`: doing them twice is doing them once. Another writer's change between the two is overwritten; the call
  was under way all the time, so it is simply the later of the two, and the last writer wins.
- `get` also when fewer bytes came than the version has, as from a proxy that cuts; but only so often (`SHORT_TRIES`),
  as one that always does must not be asked for a minute.
- `create_upload`: a lost answer leaks an upload, which costs room until garbage collection finds it.
- Conditional `put`, `copy` and `complete_upload`: the repeat may be refused because of our own success
  (PreconditionFailed, UploadNotFound, or ObjectNotFound where the source of a copy has gone since). Then HEAD and
  `vfs.store.outcome` settle it: ours is success, anything else is the refusal that the store gave. A caller that
  uses `if_absent` as a lock must say in the body or metadata who it is; equal contents cannot be told apart.
- `rename` and `exchange` are never repeated: a second exchange undoes the first.

A store may still apply an attempt that was given up, after a later call has ended. Only preconditions protect
from that, which is why data is written with them wherever the store has them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import MappingProxyType

import trio
from cachetools import LRUCache

from vfs.errors import (
    ObjectNotFound,
    PreconditionFailed,
    StoreAway,
    StoreError,
    StoreUnavailable,
    UploadNotFound,
)
from vfs.store import outcome
from vfs.store.base import Body, Fetched, ObjectInfo, ObjectMeta, ObjectStore, Part, Upload, UploadId
from vfs.store.layers import Call, Layer, T, Thunk
from vfs.types import ETag, Key

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds: bounds of the pause, which doubles. Each is drawn between 0 and that ("full jitter": aws.amazon.com/
blogs/architecture/exponential-backoff-and-jitter), so that callers that failed together do not return together."""

UPLOADS = 1024
"""Whose metadata is remembered: more than are ever under way together."""

SHORT_TRIES = 3
"""Answers to one `get` that may be too short before that is an error."""

NEVER = frozenset({"rename", "exchange"})

QUESTIONS = frozenset({"head", "get", "list", "list_uploads", "list_parts", "presign", "usage"})
"""Calls that lose nothing by failing early: they do not wait for a store that has been away for long."""

REFUSALS = (PreconditionFailed, UploadNotFound, ObjectNotFound)

IsOurs = Callable[[ObjectInfo, StoreError], Awaitable[bool]]
"""Whether what is stored was stored by this call, which the store then refused with that error."""


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """Repeated attempts by call name; lost answers settled as ours; calls that failed for want of an answer."""

    retries: Mapping[str, int]
    settled: int
    given_up: int


@dataclass(slots=True)
class _Tries:
    """How often and how long one call was tried. What the breaker refused was not tried."""

    begun: float
    deadline: float
    patient: bool
    made: int = 0
    uncertain: bool = False
    pause: float = field(default=FIRST_PAUSE)

    def failed(self, error: StoreUnavailable) -> None:
        if not isinstance(error, StoreAway):
            self.made += 1
        self.uncertain = self.uncertain or error.uncertain

    def over(self, error: StoreUnavailable) -> bool:
        if isinstance(error, StoreAway) and error.hopeless and not self.patient:
            return True
        return trio.current_time() >= self.deadline

    def next_pause(self, error: StoreUnavailable, chance: Random) -> float:
        """Not before the store wants it, but once more before time is up."""
        wanted = (error.retry_after or 0.0) + chance.uniform(0, self.pause)
        if not isinstance(error, StoreAway):
            self.pause = min(self.pause * 2, LONGEST_PAUSE)
        return min(wanted, self.deadline - trio.current_time())

    def last_word(self, call: Call, error: StoreUnavailable) -> StoreUnavailable:
        """The last error, saying also how long and how often it was tried."""
        taken = trio.current_time() - self.begun
        attempts = "1 attempt" if self.made == 1 else f"{self.made} attempts"
        text = f"{call.name} {call.key!r}: given up after {taken:.0f} s and {attempts}: {error}"
        final = type(error)(text, retry_after=error.retry_after, uncertain=self.uncertain)
        if isinstance(error, StoreAway) and isinstance(final, StoreAway):
            final.hopeless = error.hopeless
        return final


class Retry(Layer):
    """Repeats what got no answer (StoreUnavailable), for `seconds` from the call's beginning; the rest passes.

    An attempt that is under way when the time is up is let finish: its own deadline bounds it.
    """

    def __init__(self, inner: ObjectStore, seconds: float, chance: Random | None = None) -> None:
        super().__init__(inner)
        self._seconds = seconds
        self._chance = chance or Random()
        self._retries: Counter[str] = Counter()
        self._begun_with: LRUCache[UploadId, ObjectMeta] = LRUCache(UPLOADS)
        """Metadata of uploads under way, by which it is known whether a completion was ours."""
        self._settled = 0
        self._given_up = 0

    def statistics(self) -> RetryStatistics:
        return RetryStatistics(MappingProxyType(dict(self._retries)), self._settled, self._given_up)

    async def around(self, call: Call, thunk: Thunk[T]) -> T:
        if call.name in NEVER:
            return await thunk()
        return await self._repeat(call, thunk, self._tries(call))

    async def get(
        self, key: Key, start: int = 0, length: int | None = None, *, if_match: ETag | None = None
    ) -> Fetched:
        short = 0

        async def complete() -> Fetched:
            nonlocal short
            got = await self.inner.get(key, start, length, if_match=if_match)
            end = got.info.size if length is None else min(got.info.size, start + length)
            missing = end - start - len(got.data)
            if missing <= 0:
                return got
            short += 1
            kind = StoreUnavailable if short < SHORT_TRIES else StoreError
            raise kind(f"get {key!r}: answer {short} lacks the last {missing} of {end - start} bytes")

        return await self.around(Call("get", key, length), complete)

    async def put(
        self,
        key: Key,
        body: Body,
        meta: ObjectMeta,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        begun_ns = time.time_ns()

        async def ours(found: ObjectInfo, refusal: StoreError) -> bool:
            return await outcome.is_put(found, body, meta, begun_ns=begun_ns)

        thunk = partial(self.inner.put, key, body, meta, if_match=if_match, if_absent=if_absent)
        return await self._settling(Call("put", key), thunk, ours)

    async def copy(
        self, source: Key, target: Key, meta: ObjectMeta | None = None, *, if_match: ETag | None = None
    ) -> ObjectInfo:
        begun_ns = time.time_ns()

        async def ours(found: ObjectInfo, refusal: StoreError) -> bool:
            return outcome.is_copy(found, if_match, meta, in_place=source == target, begun_ns=begun_ns)

        thunk = partial(self.inner.copy, source, target, meta, if_match=if_match)
        return await self._settling(Call("copy", target), thunk, ours)

    async def create_upload(self, key: Key, meta: ObjectMeta) -> Upload:
        upload = await super().create_upload(key, meta)
        self._begun_with[upload.id] = meta
        return upload

    async def complete_upload(
        self,
        upload: Upload,
        parts: Sequence[Part],
        meta: ObjectMeta | None = None,
        *,
        if_match: ETag | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        begun_ns = time.time_ns()

        async def ours(found: ObjectInfo, refusal: StoreError) -> bool:
            gone = isinstance(refusal, UploadNotFound)
            return outcome.is_complete(
                found,
                parts,
                meta,
                begun_with=self._begun_with.get(upload.id),
                replaced=if_match,
                gone=gone,
                begun_ns=begun_ns,
            )

        thunk = partial(
            self.inner.complete_upload, upload, parts, meta, if_match=if_match, if_absent=if_absent
        )
        return await self._settling(Call("complete_upload", upload.key), thunk, ours)

    def _tries(self, call: Call) -> _Tries:
        now = trio.current_time()
        return _Tries(now, now + self._seconds, patient=call.name not in QUESTIONS)

    async def _repeat(self, call: Call, thunk: Thunk[T], tries: _Tries) -> T:
        while True:
            try:
                return await thunk()
            except StoreUnavailable as error:
                tries.failed(error)
                if tries.over(error):
                    self._given_up += 1
                    raise tries.last_word(call, error) from error
                pause = tries.next_pause(error, self._chance)
                if not isinstance(error, StoreAway):
                    self._retries[call.name] += 1
            await trio.sleep(pause)

    async def _settling(self, call: Call, thunk: Thunk[ObjectInfo], ours: IsOurs) -> ObjectInfo:
        """As `_repeat`; a refusal after an attempt that may have been applied is looked into.

        HEAD has what is left of the same time, and waits as long as the call itself would. When it gets no answer
        either, that is the error: whether the call was applied is then unknown.
        """
        tries = self._tries(call)
        try:
            return await self._repeat(call, thunk, tries)
        except REFUSALS as refusal:
            if not tries.uncertain:
                raise
            try:
                key = Key(call.key)
                found = await self._repeat(Call("head", key), partial(self.inner.head, key), tries)
            except ObjectNotFound:
                raise refusal from None
            if not await ours(found, refusal):
                raise
            self._settled += 1
            return found
