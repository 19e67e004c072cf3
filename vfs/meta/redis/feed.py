"""Follows the stream of changes, and knows when it missed some.

Every entry says which epoch it belongs to, and how many were told before it. An entry that does not follow the last
one means that entries were lost: trimmed, evicted, or gone with the server. Because a stream may be lost without
another entry ever coming, ENTER is asked every few seconds where the stream should be; it writes, so that it also
finds out whether changes could be told at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import structlog
import trio

from vfs.meta.redis.breaker import FAILURES
from vfs.meta.redis.client import Away, Client
from vfs.meta.redis.codec import heard
from vfs.meta.redis.limits import Limits
from vfs.meta.redis.link import Link, Position
from vfs.meta.shared import Change, Kind, Listener

T = TypeVar("T")
LOST = (Change(Kind.ALL),)

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 4.0
"""Seconds between attempts: doubled by each that fails."""

log = structlog.get_logger()


class Feed:
    """One mount's."""

    def __init__(self, link: Link, client: Client, limits: Limits, stream: str, origin: bytes) -> None:
        self._link = link
        self._client = client
        self._limits = limits
        self._stream = stream
        self._origin = origin
        self._threads = trio.CapacityLimiter(1)
        self._position: Position | None = None
        self.running = False
        self.alive = False
        """Changes are heard."""
        self.received = 0
        self.cause = ""
        self._failures = 0
        self._pause = FIRST_PAUSE

    async def run(self, listener: Listener) -> None:
        """Until cancelled."""
        self.running = True
        try:
            while True:
                try:
                    await self._follow(listener)
                except Away as error:
                    self._say(listener, False)
                    self._failed(str(error))
                await trio.sleep(max(self._link.breaker.pause(), self._pause))
        finally:
            self.running = self.alive = False

    async def _follow(self, listener: Listener) -> None:
        """Raises Away."""
        while True:
            at = await self._link.enter()
            self._position = self._position or self._link.begun or at
            if not self.alive:
                self._hear(await self._read(0.0), listener)  # whether it can be read at all
            await self._catch_up(at, listener)
            if not self._link.owes:
                self._say(listener, True)
            beat = trio.current_time() + self._limits.beat
            while self._link.entered and trio.current_time() < beat:
                self._hear(await self._read(self._limits.block), listener)
            if not self._link.entered:
                self._say(listener, not self._link.owes and not self._link.breaker.silent)
                await trio.sleep(self._link.breaker.pause())

    async def _catch_up(self, at: Position, listener: Listener) -> None:
        """Hears all up to `at`, or that this cannot be done."""
        while not self._reached(at):
            news = await self._read(0.0)
            if self._hear(news, listener, at):
                return
            if not news:
                self._position = at
                self._lost(listener)

    def _failed(self, cause: str) -> None:
        """Says so where the breaker does not, as commands are answered and only the feed is not."""
        self._failures += 1
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self.cause = cause
        if self._failures == FAILURES and self._link.breaker.closed:
            log.warning("changes of other mounts are not heard", cause=cause)

    def _reached(self, at: Position) -> bool:
        here = self._position
        return here is not None and here.epoch == at.epoch and here.told >= at.told

    def _hear(
        self,
        news: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
        listener: Listener,
        at: Position | None = None,
    ) -> bool:
        """Tells the listener, and whether `at` was passed."""
        passed = False
        changes: list[Change] = []
        for ident, fields in news:
            changes += self._entry(ident, dict(fields))
            passed = passed or (at is not None and self._reached(at))
        self.received += len(changes)
        if changes:
            listener.changed(changes)
        return passed

    def _entry(self, ident: bytes, fields: dict[bytes, bytes]) -> Sequence[Change]:
        """The changes in one entry of the stream, without those of this mount."""
        origin, epoch, number = fields.pop(b"o", b""), fields.pop(b"e", b""), fields.pop(b"n", b"")
        told = int(number) if number.isdigit() else -1
        before, self._position = self._position, Position(epoch, told, ident)
        ours = origin == self._origin
        news = [] if ours else heard(fields, origin.hex())
        if before is None or told != before.told + 1 or (epoch != before.epoch and not ours):
            return [*LOST, *news]
        return news

    def _lost(self, listener: Listener) -> None:
        self.received += 1
        listener.changed(LOST)

    def _say(self, listener: Listener, alive: bool) -> None:
        if alive != self.alive:
            self.alive = alive
            self._failures, self._pause, self.cause = 0, FIRST_PAUSE, ""
            listener.connected(alive)

    async def _read(self, block: float) -> Sequence[tuple[bytes, Mapping[bytes, bytes]]]:
        """Raises Away."""
        assert self._position is not None
        after, count = self._position.ident, self._limits.batch
        try:
            return await self._thread(lambda: self._client.read(self._stream, after, count, block))
        except Away as error:
            self._link.doubt(str(error))
            raise

    async def _thread(self, call: Callable[[], T]) -> T:
        """The call in a thread; a cancellation ends it at once. Raises Away."""
        done: T | Away | None = None

        def finish() -> None:
            nonlocal done
            try:
                done = call()
            except Away as error:
                done = error

        async def abort() -> None:
            try:
                await trio.sleep_forever()
            finally:
                if done is None:
                    self._client.abort()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(abort)
            await trio.to_thread.run_sync(finish, limiter=self._threads)
            nursery.cancel_scope.cancel()
        if isinstance(done, Away):
            raise done
        assert done is not None
        return done
