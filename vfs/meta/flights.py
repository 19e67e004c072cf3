"""Questions to the store that are under way: one per path, and what this mount wrote since they were asked.

An answer may be older than a write of our own that came after the question. It is given to those who asked, and not
remembered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakSet

import trio

from vfs.errors import VfsError

T = TypeVar("T")


class Flight(Generic[T]):
    """One question. `stale`: the mount wrote to its path since."""

    __slots__ = ("answer", "done", "error", "stale")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.answer: T | None = None
        """None: it did not land."""
        self.error: VfsError | None = None
        self.stale = False


class Watch:
    """A listing under way, since `begun`. `written` are the names in it that the mount wrote since; `void`: all."""

    __slots__ = ("__weakref__", "begun", "path", "void", "written")

    def __init__(self, path: str) -> None:
        self.path = path
        self.begun = trio.current_time()
        self.written: set[str] = set()
        self.void = False


class Flights(Generic[T]):
    """INVARIANT: a flight is in the table exactly while it is under way."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight[T]] = {}
        self._watches: WeakSet[Watch] = WeakSet()
        """As many as directories are being read."""

    async def join(self, path: str) -> Flight[T] | None:
        """Waits for the flight that is under way; None if there is none, and the caller has to fly."""
        flight = self._flights.get(path)
        if flight is not None:
            await flight.done.wait()
        return flight

    async def fly(self, path: str, ask: Callable[[], Awaitable[T]]) -> Flight[T]:
        """Asks. Raises what `ask` raises, as does everybody who joined."""
        flight = self._flights[path] = Flight()
        try:
            flight.answer = await ask()
        except VfsError as error:
            flight.error = error
            raise
        finally:
            del self._flights[path]
            flight.done.set()
        return flight

    def watch(self, path: str) -> Watch:
        """A listing of this directory begins; it is watched as long as somebody holds the Watch."""
        watch = Watch(path)
        self._watches.add(watch)
        return watch

    def wrote(self, path: str) -> None:
        """The mount itself stored or deleted this."""
        if path in self._flights:
            self._flights[path].stale = True
        parent, _, name = path.rpartition("/")
        for watch in self._watches:
            if watch.path == parent:
                watch.written.add(name)

    def void(self, path: str) -> None:
        """Nothing that was asked about this path or what lies under it may be remembered."""
        self.wrote(path)
        below = f"{path}/" if path else ""
        for asked, flight in self._flights.items():
            if asked.startswith(below):
                flight.stale = True
        for watch in self._watches:
            if watch.path == path or watch.path.startswith(below):
                watch.void = True
