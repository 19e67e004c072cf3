"""Retry: how it is settled whether a call whose answer was lost, and whose repeat was refused, was applied."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from random import Random

import pytest
import trio
from trio.testing import MockClock

from tests.fakes import S3_LIKE, FaultStore, MemoryStore
from tests.memory_store import _md5
from tests.unit.disk import mounted, stored
from vfs.errors import (
    ObjectNotFound,
    PreconditionFailed,
    StoreDenied,
    StoreUnavailable,
    UploadNotFound,
)
from vfs.store.base import ObjectInfo, ObjectMeta, Part, Upload
from vfs.store.outcome import AT_ONCE
from vfs.store.retry import Retry
from vfs.types import ETag, Key

KEY = Key("k")
META = ObjectMeta({"mode": "33188", "mtime": "1700000000.123456789"})
OTHER = ObjectMeta({"mode": "33188", "mtime": "1700000000.987654321"})
SECONDS = 60.0


class OpaqueStore(MemoryStore):
    """Etags that are no hashes, and a copy onto itself gets a new one."""

    def _store(self, key: Key, data: bytes, etag: ETag, meta: ObjectMeta) -> ObjectInfo:
        return super()._store(key, data, ETag(f"version-{next(self._serial)}"), meta)


class KmsStore(OpaqueStore):
    """Etags that look like an MD5 and are random, as under SSE-KMS, which HEAD tells."""

    def __init__(self) -> None:
        super().__init__()
        self._random = Random(7)

    def _store(self, key: Key, data: bytes, etag: ETag, meta: ObjectMeta) -> ObjectInfo:
        parts = etag.partition("-")
        return MemoryStore._store(
            self, key, data, ETag(self._random.randbytes(16).hex() + "".join(parts[1:])), meta
        )

    async def head(self, key: Key) -> ObjectInfo:
        return replace(await super().head(key), hashed=False)


@pytest.fixture
def faults() -> FaultStore:
    return FaultStore(MemoryStore())


@pytest.fixture
def store(faults: FaultStore) -> Retry:
    return Retry(faults, SECONDS, Random(1))


def asked(faults: FaultStore, name: str) -> int:
    return sum(call.name == name for call in faults.log)


@pytest.mark.parametrize("meta", [META, ObjectMeta()])
async def test_a_lost_conditional_put_is_ours(
    meta: ObjectMeta, faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.fail_after_apply("put")
    first = await store.put(KEY, [b"on", memoryview(b"e")], meta, if_absent=True)
    assert first == await faults.head(KEY)
    faults.fail_after_apply("put")
    second = await store.put(KEY, [b"two"], meta, if_match=first.etag)
    assert second == await faults.head(KEY)
    assert (second.etag, second.size) == (_md5(b"two"), 3)
    assert store.statistics().settled == 2


async def test_a_large_body_is_hashed_in_a_thread(faults: FaultStore, autojump_clock: MockClock) -> None:
    """Time does not stand still for the simulation meanwhile, so nothing else may wait for it here."""
    body = [bytes(AT_ONCE), b"and more"]
    faults.fail_after_apply("put")
    store = Retry(faults, SECONDS, Random(1))
    assert (await store.put(KEY, body, META, if_absent=True)).etag == _md5(b"".join(body))
    assert store.statistics().settled == 1


async def test_another_ones_object_is_not_ours(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    for body, meta in [(b"xx", META), (b"longer", META), (b"ours", OTHER), (b"ours", ObjectMeta())]:
        theirs = await faults.put(KEY, [body], meta)
        faults.fail_before("put")
        with pytest.raises(PreconditionFailed):
            await store.put(KEY, [b"ours"], META, if_absent=True)
        assert await faults.head(KEY) == theirs
    assert store.statistics().settled == 0


async def test_a_refusal_after_a_certain_failure_stands(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    """Equal contents prove nothing to one who knows that nothing was sent: a lock stays another's."""
    await faults.put(KEY, [b""], META)
    faults.fail_before("put", error=lambda: StoreUnavailable("no connection", uncertain=False))
    with pytest.raises(PreconditionFailed):
        await store.put(KEY, [b""], META, if_absent=True)
    assert asked(faults, "head") == 0


async def test_an_object_deleted_meanwhile_is_not_ours(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.fail_before("put")
    with pytest.raises(PreconditionFailed):
        await store.put(KEY, [b"x"], META, if_match=ETag("gone"))
    assert asked(faults, "head") == 1


async def test_head_has_what_is_left_of_the_time(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    faults.fail_after_apply("put")
    faults.fail_before("head", count=3)
    await store.put(KEY, [b"x"], META, if_absent=True)
    faults.fail_after_apply("put")
    faults.away(calls="head")
    begun = trio.current_time()
    with pytest.raises(StoreUnavailable, match="head 'k': given up after 60 s") as caught:
        await store.put(Key("k"), [b"y"], META, if_match=_md5(b"x"))
    assert trio.current_time() - begun == pytest.approx(SECONDS)
    assert caught.value.uncertain
    faults.clear()
    faults.fail_after_apply("put")
    faults.fail_before("head", error=lambda: StoreDenied("may not read"))
    with pytest.raises(StoreDenied):
        await store.put(KEY, [b"z"], META, if_match=_md5(b"y"))


async def test_opaque_etags_leave_the_metadata(autojump_clock: MockClock) -> None:
    faults = FaultStore(OpaqueStore())
    store = Retry(faults, SECONDS, Random(1))
    faults.fail_after_apply("put")
    stored = await store.put(KEY, [b"x"], META, if_absent=True)
    faults.fail_after_apply("put")
    with pytest.raises(PreconditionFailed):
        await store.put(Key("bare"), [b"x"], ObjectMeta(), if_absent=True)
    faults.fail_after_apply("copy")
    changed = await store.copy(KEY, KEY, OTHER, if_match=stored.etag)
    assert (changed.meta, changed.etag != stored.etag) == (OTHER, True)
    assert changed == await faults.head(KEY)
    faults.fail_before("copy")
    with pytest.raises(PreconditionFailed):
        await store.copy(KEY, KEY, META, if_match=stored.etag)


async def test_a_lost_copy(autojump_clock: MockClock) -> None:
    memory = MemoryStore()
    faults = FaultStore(memory)
    store = Retry(faults, SECONDS, Random(1))
    one = await faults.put(KEY, [b"one"], META)
    target = Key("target")

    faults.fail_after_apply("copy")
    assert (await store.copy(KEY, KEY, OTHER, if_match=one.etag)).meta == OTHER
    assert store.statistics().settled == 0

    async def change_the_source(change: Callable[[], Awaitable[object]]) -> None:
        while target not in memory.stored():
            await trio.lowlevel.checkpoint()
        await change()

    for change in (lambda: memory.put(KEY, [b"two"], META), lambda: memory.delete(KEY)):
        await memory.put(KEY, [b"one"], META)
        await memory.delete(target)
        faults.fail_after_apply("copy")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_the_source, change)
            info = await store.copy(KEY, target, META, if_match=one.etag)
        assert (info, info.etag) == (await memory.head(target), one.etag)
    assert store.statistics().settled == 2


@pytest.mark.parametrize("meta", [None, META, OTHER])
async def test_a_copy_that_cannot_be_told_is_refused(
    meta: ObjectMeta | None, faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    await faults.put(KEY, [b"new"], META)
    await faults.put(Key("target"), [b"old"], META)
    faults.fail_before("copy", count=2)
    with pytest.raises(PreconditionFailed):
        await store.copy(KEY, Key("target"), meta, if_match=_md5(b"gone"))
    with pytest.raises(ObjectNotFound):
        await store.copy(Key("absent"), Key("target"), meta)


async def begin(store: FaultStore | Retry, *bodies: bytes) -> tuple[Upload, list[Part]]:
    upload = await store.create_upload(KEY, META)
    return upload, [await store.upload_part(upload, number, [body]) for number, body in enumerate(bodies, 1)]


async def test_a_lost_complete(faults: FaultStore, store: Retry, autojump_clock: MockClock) -> None:
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_after_apply("complete_upload")
    info = await store.complete_upload(upload, parts, if_absent=True)
    assert info == await faults.head(KEY)
    assert (info.size, info.etag[-2:]) == (6, "-2")
    assert store.statistics().settled == 1


async def test_an_aborted_upload_is_not_ours(
    faults: FaultStore, store: Retry, autojump_clock: MockClock
) -> None:
    """The version that was to be replaced has the same size: an edit in the middle of a file."""
    for bodies in ([b"abc", b"def"], [b"abcdef"]):
        upload, parts = await begin(faults, *bodies)
        old = await faults.complete_upload(upload, parts)
        upload, parts = await begin(faults, b"abc", b"DEF")
        await faults.abort_upload(upload)
        faults.fail_before("complete_upload")
        with pytest.raises(UploadNotFound):
            await store.complete_upload(upload, parts, if_match=old.etag)
        assert await faults.head(KEY) == old
    old = await faults.put(KEY, [b"abcdef"], META)
    faults.fail_before("complete_upload")
    with pytest.raises(UploadNotFound):
        await store.complete_upload(upload, parts)


async def test_a_complete_with_opaque_etags(autojump_clock: MockClock) -> None:
    """That the upload is gone and the size is right tells; that another version is there does not."""
    faults = FaultStore(OpaqueStore())
    store = Retry(faults, SECONDS, Random(1))
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_after_apply("complete_upload")
    stored = await store.complete_upload(upload, parts)
    assert stored == await faults.head(KEY)
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_before("complete_upload")
    with pytest.raises(PreconditionFailed):
        await store.complete_upload(upload, parts, if_absent=True)
    await faults.abort_upload(upload)
    faults.fail_before("complete_upload")
    with pytest.raises(UploadNotFound):
        await store.complete_upload(upload, parts, if_match=stored.etag)


async def test_late_metadata_is_compared(autojump_clock: MockClock) -> None:
    faults = FaultStore(MemoryStore(replace(S3_LIKE, late_meta=True)))
    store = Retry(faults, SECONDS, Random(1))
    upload, parts = await begin(faults, b"one", b"two")
    faults.fail_after_apply("complete_upload")
    assert (await store.complete_upload(upload, parts, OTHER)).meta == OTHER
    faults.fail_before("complete_upload")
    with pytest.raises(UploadNotFound):
        await store.complete_upload(upload, parts, META)


async def test_what_was_put_under_kms_is_known_by_its_metadata(autojump_clock: MockClock) -> None:
    faults = FaultStore(KmsStore())
    store = Retry(faults, SECONDS, Random(1))
    faults.fail_after_apply("put")
    stored = await store.put(KEY, [b"one"], META, if_absent=True)
    faults.fail_after_apply("put")
    stored = await store.put(KEY, [b"one, two"], OTHER, if_match=stored.etag)
    assert stored == await faults.head(KEY)
    faults.fail_after_apply("copy")
    changed = await store.copy(KEY, KEY, META, if_match=stored.etag)
    assert changed == await faults.head(KEY)
    upload, parts = await begin(store, b"one", b"two")
    faults.fail_after_apply("complete_upload")
    stored = await store.complete_upload(upload, parts, if_match=changed.etag)
    assert stored == await faults.head(KEY)
    assert store.statistics().settled == 4


async def test_others_versions_under_kms_are_not_ours(autojump_clock: MockClock) -> None:
    memory = KmsStore()
    faults = FaultStore(memory)
    store = Retry(faults, SECONDS, Random(1))
    for body, meta in [(b"longer", META), (b"ours", OTHER), (b"ours", ObjectMeta())]:
        await faults.put(KEY, [body], meta)
        faults.fail_before("put")
        with pytest.raises(PreconditionFailed):
            await store.put(KEY, [b"ours"], META, if_absent=True)
        upload, parts = await begin(store, b"ou", b"rs")
        faults.fail_before("complete_upload")
        with pytest.raises(PreconditionFailed):
            await store.complete_upload(upload, parts, if_absent=True)
    bare = await faults.put(KEY, [b"old"], ObjectMeta())
    faults.fail_after_apply("put")
    with pytest.raises(PreconditionFailed):
        await store.put(KEY, [b"ours"], ObjectMeta(), if_match=bare.etag)
    assert store.statistics().settled == 0


@pytest.mark.parametrize(("seconds", "ours"), [(600, True), (1200, False)])
async def test_a_version_that_is_older_than_the_call_is_not_ours(
    seconds: int, ours: bool, autojump_clock: MockClock
) -> None:
    """But for as much as the store's clock may be behind."""
    memory = KmsStore()
    faults = FaultStore(memory)
    store = Retry(faults, SECONDS, Random(1))
    await faults.put(KEY, [b"same"], META)
    found = memory._objects[KEY]
    memory._objects[KEY] = replace(found, modified_ns=found.modified_ns - seconds * 10**9)
    faults.fail_before("put")
    with nullcontext() if ours else pytest.raises(PreconditionFailed):
        await store.put(KEY, [b"same"], META, if_absent=True)


async def test_a_line_whose_answer_was_lost_is_appended_once(autojump_clock: MockClock) -> None:
    faults = FaultStore(KmsStore())
    async with mounted(Retry(faults, SECONDS, Random(1))) as disk:
        await disk.save("workspace/log", b"one\n")
        fh = await disk.open("workspace/log", os.O_WRONLY | os.O_APPEND)
        await disk.write(fh, 4, b"two\n")
        faults.fail_after_apply("put", keys="workspace/log")
        await disk.close(fh)
        assert await disk.load("workspace/log") == b"one\ntwo\n"
    assert await stored(faults, "workspace/log") == b"one\ntwo\n"
