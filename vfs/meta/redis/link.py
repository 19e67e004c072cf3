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


def as_it_is(answer: Any) -> Any:
    return answer


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
        self.breaker = Breaker(limits.slow, limits.calm)
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

    async def ask(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], read: Callable[[Any], Any] = as_it_is
    ) -> Any:
        """What `read` makes of the answer, in a thread; None if there is none, or Redis has lost what it held."""
        return await self._asked(script, keys, args, read=read)

    async def tell(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> bool:
        """Tells the others. False: it could not be told, and is owed now."""
        told = False
        try:
            answer = await self._asked(script, keys, args)
            if answer is None and not self._entered and self.breaker.closed:
                answer = await self._asked(script, keys, args)
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

    async def _asked(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Arg],
        read: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Without `read` it is urgent: a change, which may not wait for a slow server to become fast."""
        with trio.move_on_after(self._limits.queue_timeout) as waiting:
            await self._slots.acquire()
        if waiting.cancelled_caught:
            self.breaker.refused += 1
            return None
        try:
            return await self._answer(script, keys, args, read)
        except Away:
            return None
        finally:
            self._slots.release()

    async def _answer(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], read: Callable[[Any], Any] | None
    ) -> Any:
        if not self.entered:
            async with self._entering:
                if not self.entered:
                    await self._enter()
        size = sum(len(arg) for arg in args if isinstance(arg, bytes))
        answer = await self._guarded(lambda: self._client.run(script, keys, args), read, size)
        if answer is None:
            self._entered = False
        return answer

    async def _enter(self) -> Position:
        failures = self._failures
        args: list[Arg] = [secrets.token_hex(8), int(self.owes), self._limits.stream_length]
        epoch, told, ident = await self._guarded(lambda: self._client.enter(ENTER, self._keys, args))
        self._made_good = max(self._made_good, failures)
        self._entered = True
        position = Position(epoch, int(told), ident)
        self.begun = self.begun or position
        return position

    async def _guarded(
        self, call: Callable[[], Any], read: Callable[[Any], Any] | None = None, size: int = 0
    ) -> Any:
        """One request under the breaker. Raises Away."""
        urgent = read is None
        if not self.breaker.admits(urgent):
            raise Away("the breaker is open")
        settled = False
        try:
            answer, seconds = await trio.to_thread.run_sync(
                timed, call, read or as_it_is, size, limiter=self._threads
            )
            self.breaker.answered(seconds)
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
