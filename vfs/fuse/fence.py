"""What stands around every FUSE handler: errno, timing, one log line, and the last resort.

pyfuse3 ends the mount when anything but FUSEError leaves a handler, so nothing else may. This is the only place
that catches everything.
"""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyfuse3
import structlog

from vfs.errors import StoreError, VfsError, leading

log = structlog.get_logger()

_ORDINARY = (errno.ENOENT, errno.ENODATA, errno.EOPNOTSUPP)
"""Answers rather than failures; the kernel asks for what gets them before every write."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FenceStatistics:
    """Requests by operation, failures by errno name, seconds spent by operation."""

    requests: dict[str, int]
    errors: dict[str, int]
    seconds: dict[str, float]


class Fence:
    """Counts and times what passes."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self.last_error = ""

    def statistics(self) -> FenceStatistics:
        return FenceStatistics(dict(self._requests), dict(self._errors), dict(self._seconds))

    def passed(self, name: str, seconds: float) -> None:
        self._requests[name] += 1
        self._seconds[name] += seconds  # type: ignore[assignment]  # Counter holds floats as well

    def failed(self, name: str, error: BaseException, arguments: tuple[Any, ...]) -> int:
        """Counts and logs a failure; returns the errno the program gets."""
        if isinstance(error, BaseExceptionGroup):
            error = leading(error)
        number = error.errno if isinstance(error, VfsError) else errno.EIO
        self._errors[errno.errorcode.get(number, str(number))] += 1
        if not isinstance(error, VfsError):
            self.last_error = f"{name}: {error!r}"
            log.error("bug: a handler failed", op=name, args=_shown(arguments), exc_info=error)
        elif isinstance(error, StoreError) and number != errno.ENOENT:
            self.last_error = f"{name}: {error}"
            log.error("request failed", op=name, errno=errno.errorcode.get(number), error=str(error))
        elif number not in _ORDINARY:
            log.debug("refused", op=name, errno=errno.errorcode.get(number), error=str(error))
        return number


def _shown(arguments: tuple[Any, ...]) -> str:
    """For the log: never what is in a file."""
    return repr([f"{len(each)} bytes" if isinstance(each, bytes) else each for each in arguments])


class Fenced(Protocol):
    """A set of handlers with a fence around them."""

    fence: Fence


S = TypeVar("S", bound=Fenced)


def op(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Turns whatever a handler raises into a FUSEError."""
    name = handler.__name__

    @wraps(handler)
    async def fenced(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        began = time.perf_counter()
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except (Exception, BaseExceptionGroup) as error:  # a group may mix a cancellation with an error
            if isinstance(error, BaseExceptionGroup) and not isinstance(leading(error), Exception):
                raise
            raise pyfuse3.FUSEError(self.fence.failed(name, error, args)) from error
        finally:
            self.fence.passed(name, time.perf_counter() - began)

    return fenced


def silent(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, None]]:
    """For a request that has no answer (FORGET): whatever is raised is logged and stays here."""
    name = handler.__name__

    @wraps(handler)
    async def fenced(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        began = time.perf_counter()
        try:
            await handler(self, *args, **kwargs)
        except (Exception, BaseExceptionGroup) as error:  # as in `op`
            if isinstance(error, BaseExceptionGroup) and not isinstance(leading(error), Exception):
                raise
            self.fence.failed(name, error, args)
        finally:
            self.fence.passed(name, time.perf_counter() - began)

    return fenced
