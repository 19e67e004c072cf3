"""The event loop's side of the connection: threads, the breaker, and what this mount owes the others.

Whoever asks gets an answer or None. A mount *enters* before it asks: this finds out whether Redis holds what it held
(see ENTER), and makes good what could not be told. While something is owed nothing is asked, as the answer may be
older than what this mount did.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from vfs.meta.redis.breaker import Breaker
from vfs.meta.redis.client import Away, Client, timed
from vfs.meta.redis.limits import Limits
from vfs.meta.redis.scripts import ENTER, Script

Arg = str | bytes | int | float

SECONDS_PER_BYTE = 1e-7
"""What an answer may take beside the time of any: 10 MB/s."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the feed: the epoch, entries told, and the id of the last one."""

    epoch: bytes
    told: int
    ident: bytes


class Link:
    """One mount's way to Redis, for commands."""

    def __init__(self, client: Client, limits: Limits, state: str, stream: str) -> None:
        self._client = client
        self._limits = limits
        self._keys = (state, stream)
        self.breaker = Breaker(limits.slow)
        self._slots = trio.Semaphore(limits.threads)
        self._threads = trio.CapacityLimiter(limits.threads + 1)
        """One more than slots: the feed's entering never waits behind questions."""
        self._entering = trio.Lock()
        self._entered = False
        self._failures = 0
        self._made_good = 0
        """`_failures` counts changes that could not be told; those up to `_made_good` were, as ALL."""
        self.begun: Position | None = None
        """Where the feed was when this mount first entered: nothing it knows is older."""

    @property
    def owes(self) -> bool:
        return self._failures > self._made_good

    @property
    def entered(self) -> bool:
        return self._entered and not self.owes

    async def ask(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """The answer; None if there is none, or Redis has lost what it held."""
        return await self._asked(script, keys, args, urgent=False)

    async def tell(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> bool:
        """Tells the others. False: it could not be told, and is owed now."""
        told = False
        try:
            answer = await self._asked(script, keys, args, urgent=True)
            if answer is None and not self._entered and self.breaker.closed:
                answer = await self._asked(script, keys, args, urgent=True)
            told = answer is not None
        finally:
            if not told:  # cancelled, too
                self._failures += 1
                self._entered = False
        return told

    async def enter(self) -> Position:
        """Where the feed is. Raises Away."""
        async with self._entering:
            return await self._enter()

    def doubt(self, cause: str) -> None:
        """The feed broke: perhaps because the server is another now."""
        self._entered = False
        self.breaker.failed(cause)

    async def settle(self) -> None:
        """Makes good what is owed, if it can be done at once."""
        if self.owes:
            try:
                await self.enter()
            except Away:
                return

    async def _asked(self, script: Script, keys: Sequence[str], args: Sequence[Arg], urgent: bool) -> Any:
        with trio.move_on_after(self._limits.queue_timeout) as waiting:
            await self._slots.acquire()
        if waiting.cancelled_caught:
            self.breaker.refused += 1
            return None
        try:
            return await self._answer(script, keys, args, urgent)
        except Away:
            return None
        finally:
            self._slots.release()

    async def _answer(self, script: Script, keys: Sequence[str], args: Sequence[Arg], urgent: bool) -> Any:
        if not self.entered:
            async with self._entering:
                if not self.entered:
                    await self._enter()
        size = sum(len(arg) for arg in args if isinstance(arg, bytes))
        answer = await self._guarded(lambda: self._client.run(script, keys, args), size, urgent)
        if answer is None:
            self._entered = False
        return answer

    async def _enter(self) -> Position:
        failures = self._failures
        args: list[Arg] = [secrets.token_hex(8), int(self.owes), self._limits.stream_length]
        epoch, told, ident = await self._guarded(lambda: self._client.enter(ENTER, self._keys, args), 0, True)
        self._made_good = max(self._made_good, failures)
        self._entered = True
        position = Position(epoch, int(told), ident)
        self.begun = self.begun or position
        return position

    async def _guarded(self, call: Callable[[], Any], size: int, urgent: bool) -> Any:
        """One request under the breaker. Raises Away."""
        if not self.breaker.admits(urgent):
            raise Away("the breaker is open")
        settled = False
        try:
            answer, seconds = await trio.to_thread.run_sync(timed, call, limiter=self._threads)
            self.breaker.answered(seconds - (size + _size(answer)) * SECONDS_PER_BYTE)
            settled = True
        except Away as error:
            settled = True
            self._entered = False
            self.breaker.failed(str(error), at_once=urgent)
            raise
        finally:
            if not settled:
                self.breaker.left()
        return answer


def _size(answer: Any) -> int:
    """Bytes of an answer, roughly."""
    if isinstance(answer, bytes):
        return len(answer)
    return sum(_size(part) for part in answer) if isinstance(answer, list) else 8
