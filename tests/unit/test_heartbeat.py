"""The loop is freed when it is stuck in libfuse, and left alone when it is not."""

from __future__ import annotations

import threading

import trio

from vfs.fuse.heartbeat import Heartbeat

DEADLINE = 10.0


def test_a_loop_that_does_not_beat_is_sent_a_request() -> None:
    poked = threading.Event()
    heartbeat = Heartbeat(poked.set, interval=0.005, late=0.01)
    heartbeat.start()
    try:
        assert poked.wait(DEADLINE)
        assert heartbeat.pokes
    finally:
        heartbeat.stop()


async def test_a_loop_that_beats_is_left_alone() -> None:
    heartbeat = Heartbeat(lambda: None, interval=0.005, late=DEADLINE)
    heartbeat.start()
    try:
        with trio.move_on_after(0.05):
            await heartbeat.beat()
        assert heartbeat.pokes == 0
    finally:
        heartbeat.stop()


async def test_a_loop_that_blocks_is_freed() -> None:
    freed = threading.Event()
    heartbeat = Heartbeat(freed.set, interval=0.005, late=0.01)
    heartbeat.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeat.beat)
            await trio.sleep(0.005)
            assert freed.wait(DEADLINE)  # as read(2) of libfuse does: the loop stands still
            nursery.cancel_scope.cancel()
    finally:
        heartbeat.stop()
