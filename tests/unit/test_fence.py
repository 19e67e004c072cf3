"""The fence: whatever a handler raises, pyfuse3 sees FUSEError and nothing else."""

from __future__ import annotations

import errno

import pyfuse3
import pytest
import structlog
import trio
from structlog.testing import capture_logs

from vfs import errors
from vfs.errors import NotFound, ObjectNotFound, StoreFull, StoreUnavailable, VfsError
from vfs.fuse.fence import Fence, op, silent


def family(cls: type[VfsError] = VfsError) -> list[type[VfsError]]:
    return [cls, *(kin for child in cls.__subclasses__() for kin in family(child))]


class Handlers:
    """Handlers as the adapter has them: one with an answer, one without."""

    def __init__(self) -> None:
        self.fence = Fence()

    @op
    async def lookup(self, error: BaseException | None = None, *, answer: int = 5) -> int:
        """The documentation of lookup."""
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error
        return answer

    @silent
    async def forget(self, error: BaseException | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error

    async def number(self, error: BaseException) -> int:
        """The errno that a program gets."""
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await self.lookup(error)
        return caught.value.errno


@pytest.fixture
def handlers() -> Handlers:
    structlog.reset_defaults()
    return Handlers()


async def test_an_answer_passes(handlers: Handlers) -> None:
    assert await handlers.lookup(answer=7) == 7
    assert await handlers.forget() is None
    statistics = handlers.fence.statistics()
    assert statistics.requests == {"lookup": 1, "forget": 1}
    assert statistics.errors == {}
    assert handlers.lookup.__doc__ == "The documentation of lookup."


@pytest.mark.parametrize("cls", family(), ids=lambda cls: cls.__name__)
async def test_every_error_of_ours_becomes_its_errno(handlers: Handlers, cls: type[VfsError]) -> None:
    with capture_logs():
        assert await handlers.number(cls("reason")) == cls.errno
    assert handlers.fence.statistics().errors == {errno.errorcode[cls.errno]: 1}


def test_the_family_is_all_there_is() -> None:
    public = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)}
    assert public <= set(family())  # other modules may add to it


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), OSError(errno.ENOENT, "x"), AssertionError(), RecursionError()]
)
async def test_a_bug_becomes_eio_and_is_told_in_full(handlers: Handlers, error: Exception) -> None:
    with capture_logs() as logs:
        assert await handlers.number(error) == errno.EIO
    (line,) = logs
    assert (line["log_level"], line["op"], line["exc_info"]) == ("error", "lookup", error)
    assert handlers.fence.last_error == f"lookup: {error!r}"


async def test_the_cause_is_kept(handlers: Handlers) -> None:
    error = NotFound("x")
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handlers.lookup(error)
    assert caught.value.__cause__ is error


async def test_a_fuse_error_passes_as_it_is(handlers: Handlers) -> None:
    assert await handlers.number(pyfuse3.FUSEError(errno.ENOSYS)) == errno.ENOSYS
    assert handlers.fence.statistics().errors == {}


# -- groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "number"),
    [
        (ExceptionGroup("g", [StoreFull("x")]), errno.ENOSPC),
        (ExceptionGroup("g", [ValueError("x"), StoreFull("x")]), errno.ENOSPC),
        (ExceptionGroup("g", [ExceptionGroup("g", [NotFound("x")]), StoreFull("x")]), errno.ENOSPC),
        (ExceptionGroup("g", [ExceptionGroup("g", [ValueError(), NotFound("x")])]), errno.ENOENT),
        (ExceptionGroup("g", [ValueError("x"), KeyError("x")]), errno.EIO),
    ],
)
async def test_a_group_is_its_leading_error(
    handlers: Handlers, group: ExceptionGroup[Exception], number: int
) -> None:
    with capture_logs():
        assert await handlers.number(group) == number


async def test_an_error_of_a_nursery_is_a_group_too(handlers: Handlers) -> None:
    class Nested(Handlers):
        @op
        async def read(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.lowlevel.checkpoint()
                raise NotFound("x")

    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Nested().read()
    assert caught.value.errno == errno.ENOENT


# -- what must pass --------------------------------------------------------------------------------------------


async def test_cancellation_passes(handlers: Handlers) -> None:
    with trio.move_on_after(0) as scope:
        await handlers.lookup()
    assert scope.cancelled_caught
    with trio.move_on_after(0) as scope:
        await handlers.forget()
    assert scope.cancelled_caught
    statistics = handlers.fence.statistics()
    assert statistics.requests == {"lookup": 1, "forget": 1}
    assert statistics.errors == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
async def test_the_end_of_the_process_passes(handlers: Handlers, error: BaseException) -> None:
    with pytest.raises(type(error)):
        await handlers.lookup(error)
    with pytest.raises(type(error)):
        await handlers.forget(error)


async def test_an_error_beside_a_cancellation_is_answered(handlers: Handlers) -> None:
    """A nursery that fails while it is cancelled raises both; the bug alone would end the mount."""
    with capture_logs():
        assert await handlers.number(_both(ValueError("bug"))) == errno.EIO
        assert await handlers.number(_both(StoreFull("full"))) == errno.ENOSPC
        assert await handlers.forget(_both(ValueError("bug"))) is None


def _both(error: Exception) -> BaseException:
    return BaseExceptionGroup("both", [KeyboardInterrupt(), error])


# -- requests without an answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (NotFound("x"), "ENOENT"),
        (ValueError("x"), "EIO"),
        (ExceptionGroup("g", [StoreFull("x")]), "ENOSPC"),
    ],
)
async def test_where_nobody_hears_an_answer_nothing_is_raised(
    handlers: Handlers, error: Exception, name: str
) -> None:
    with capture_logs():
        assert await handlers.forget(error) is None
    assert handlers.fence.statistics().errors == {name: 1}
    assert handlers.fence.statistics().requests == {"forget": 1}


# -- counts and lines ------------------------------------------------------------------------------------------


async def test_counts_and_seconds_by_operation(handlers: Handlers) -> None:
    for error in (None, NotFound("x"), NotFound("y"), StoreUnavailable("x"), None):
        with capture_logs():
            await handlers.forget(error)
    await handlers.lookup()
    statistics = handlers.fence.statistics()
    assert statistics.requests == {"forget": 5, "lookup": 1}
    assert statistics.errors == {"ENOENT": 2, "EIO": 1}
    assert set(statistics.seconds) == {"forget", "lookup"}
    assert all(0 < seconds < 60 for seconds in statistics.seconds.values())


@pytest.mark.parametrize(
    ("error", "levels", "last"),
    [
        (NotFound("x"), [], ""),
        (errors.NoAttribute("x"), [], ""),
        (errors.NotSupported("x"), [], ""),
        (ObjectNotFound("x"), [], ""),
        (errors.NotEmpty("x"), ["debug"], ""),
        (StoreFull("no room"), ["error"], "lookup: no room"),
        (StoreUnavailable("no answer"), ["error"], "lookup: no answer"),
    ],
)
async def test_only_failures_are_told(
    handlers: Handlers, error: VfsError, levels: list[str], last: str
) -> None:
    with capture_logs() as logs:
        await handlers.number(error)
    assert [line["log_level"] for line in logs] == levels
    assert handlers.fence.last_error == last
