"""The kernel is told in order, by threads that do not wait for each other; who waits learns if something was not."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pyfuse3
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.unit.disk import mounted
from vfs.errors import Stale
from vfs.fuse import notify
from vfs.fuse.notify import Notifier
from vfs.types import Ino

DEADLINE = 10.0


class Kernel:
    """Hears of names and of attributes, each only while its gate is open."""

    def __init__(self) -> None:
        self.names: list[tuple[int, bytes]] = []
        self.attributes: list[int] = []
        self.names_gate, self.attributes_gate = threading.Event(), threading.Event()
        self.open()

    def open(self) -> None:
        self.names_gate.set()
        self.attributes_gate.set()

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        assert self.names_gate.wait(DEADLINE)
        self.names.append((parent, name))

    def invalidate_inode(self, ino: int, attr_only: bool) -> None:
        assert attr_only
        assert self.attributes_gate.wait(DEADLINE)
        self.attributes.append(ino)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(pyfuse3, "invalidate_entry", kernel.invalidate_entry)
    monkeypatch.setattr(pyfuse3, "invalidate_inode", kernel.invalidate_inode)
    return kernel


@pytest.fixture
def notifier(kernel: Kernel) -> Iterator[Notifier]:
    before = set(threading.enumerate())
    notifier = Notifier()
    notifier.start()
    yield notifier
    notifier.stop()
    kernel.open()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("notify"):
            thread.join(DEADLINE)
            assert not thread.is_alive()


async def test_all_is_said_in_order(notifier: Notifier, kernel: Kernel) -> None:
    for number in range(2, 100):
        notifier.attributes_changed(Ino(number))
        notifier.name_gone(Ino(1), b"%d" % number)
    assert await notifier.all_told()
    assert kernel.attributes == list(range(2, 100))
    assert kernel.names == [(1, b"%d" % number) for number in range(2, 100)]


async def test_a_name_that_waits_for_its_directory_holds_up_no_attributes(
    notifier: Notifier, kernel: Kernel
) -> None:
    kernel.names_gate.clear()
    notifier.name_gone(Ino(1), b"name")
    notifier.attributes_changed(Ino(2))
    assert await notifier.told()
    assert kernel.attributes == [2]
    assert kernel.names == []


async def test_names_are_waited_for_where_that_is_wanted(notifier: Notifier, kernel: Kernel) -> None:
    kernel.names_gate.clear()
    notifier.name_gone(Ino(1), b"name")
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await notifier.all_told())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert answers == []
        kernel.open()
    assert answers == [True]
    assert kernel.names == [(1, b"name")]


async def test_nobody_waits_for_longer_than_a_moment(
    notifier: Notifier, kernel: Kernel, autojump_clock: MockClock
) -> None:
    kernel.names_gate.clear()
    kernel.attributes_gate.clear()
    notifier.name_gone(Ino(1), b"name")
    notifier.attributes_changed(Ino(2))
    for question in (notifier.told, notifier.all_told):
        begun = trio.current_time()
        assert not await question()
        assert trio.current_time() - begun == notify.TOLD_SECONDS


async def test_what_was_skipped_was_not_told(
    notifier: Notifier, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits hears of it at the end, when there is room again and it is worth another try."""
    monkeypatch.setattr(notify, "QUEUE", 3)
    kernel.attributes_gate.clear()
    for number in range(2, 6):
        notifier.attributes_changed(Ino(number))
    assert notifier.skipped == 1
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await notifier.told())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        kernel.open()
    assert answers == [False]
    assert kernel.attributes == [2, 3, 4]
    while not await notifier.told():  # the thread may not have put down what it said last
        pass
    notifier.attributes_changed(Ino(5))
    assert await notifier.told()
    assert kernel.attributes == [2, 3, 4, 5]
    assert notifier.skipped == 1


async def test_names_that_were_skipped_are_no_matter_of_attributes(
    notifier: Notifier, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(notify, "QUEUE", 1)
    kernel.names_gate.clear()
    for number in range(3):
        notifier.name_gone(Ino(1), b"%d" % number)
    assert notifier.skipped == 2
    assert await notifier.told()
    assert not await notifier.all_told()


async def test_what_the_kernel_does_not_know_ends_nothing(
    notifier: Notifier, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(parent: int, name: bytes) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such inode")

    monkeypatch.setattr(pyfuse3, "invalidate_entry", unknown)
    notifier.name_gone(Ino(1), b"name")
    assert await notifier.all_told()
    monkeypatch.setattr(pyfuse3, "invalidate_entry", kernel.invalidate_entry)
    notifier.name_gone(Ino(1), b"other")
    assert await notifier.all_told()
    assert kernel.names == [(1, b"other")]


def test_the_end_does_not_wait_for_what_is_left(notifier: Notifier, kernel: Kernel) -> None:
    """The fixture sees both threads end."""
    kernel.names_gate.clear()
    kernel.attributes_gate.clear()
    for number in range(2, 100):
        notifier.attributes_changed(Ino(number))
        notifier.name_gone(Ino(1), b"%d" % number)
    notifier.stop()
    kernel.open()
    assert len(kernel.names) < 98
    assert len(kernel.attributes) < 98


async def test_an_open_of_which_the_kernel_has_not_heard_is_tried_again() -> None:
    """ESTALE makes the kernel walk the path once more and ask for the size; the old one would cut the file."""
    async with mounted() as disk:
        await disk.save("workspace/f", b"content")

        async def not_told() -> bool:
            return False

        told, disk.fs.kernel_told = disk.fs.kernel_told, not_told
        with pytest.raises(Stale):
            await disk.open("workspace/f", os.O_RDONLY)
        disk.fs.kernel_told = told
        assert await disk.load("workspace/f") == b"content"
        disk.check_idle()


async def test_a_refresh_waits_for_names_and_attributes(notifier: Notifier, kernel: Kernel) -> None:
    async with mounted() as disk:
        await disk.save("workspace/f", b"content")
        disk.fs.dropped, disk.fs.outdated = notifier.name_gone, notifier.attributes_changed
        disk.fs.kernel_told, disk.fs.all_told = notifier.told, notifier.all_told
        inode = await disk.walk("workspace/f")
        await disk.fs.ask_again("workspace/f")
        assert (inode.names[0][0].ino, b"f") in kernel.names
        assert inode.ino in kernel.attributes
        disk.forget_all()
