"""Server-side copies of any size, over any store: one call where it fits, a multipart copy where it does not."""

from __future__ import annotations

from dataclasses import replace

from vfs.errors import PreconditionFailed
from vfs.store.base import UNKNOWN_SIZE, ObjectInfo, ObjectMeta, ObjectStore
from vfs.types import Key


async def copy_version(
    store: ObjectStore, source: ObjectInfo, target: Key, meta: ObjectMeta | None = None
) -> ObjectInfo:
    """As `copy_object`, of a version that has been known for a while.

    A store that cannot copy on condition is asked first, as near to the copy as can be.
    """
    if not store.capabilities.conditional_copy and (await store.head(source.key)).etag != source.etag:
        raise PreconditionFailed(f"{source.key}: stored elsewhere")
    return await copy_object(store, source, target, meta)


async def copy_object(
    store: ObjectStore, source: ObjectInfo, target: Key, meta: ObjectMeta | None = None
) -> ObjectInfo:
    """Copies the version `source` to `target`; `meta` None keeps its metadata.

    Raises ObjectNotFound, PreconditionFailed when it is not the current version any more.
    """
    limits = store.capabilities
    if_match = source.etag if limits.conditional_copy else None
    if source.size <= limits.max_copy:
        copied = await store.copy(source.key, target, meta, if_match=if_match)
        if copied.size != UNKNOWN_SIZE:
            return copied
        return replace(copied, size=source.size, meta=source.meta if meta is None else meta)
    if meta is None:
        meta = source.meta or (await store.head(source.key)).meta
    assert meta is not None, "head always gives the metadata"
    upload = await store.create_upload(target, meta)
    try:
        parts = [
            await store.copy_part(
                upload,
                number,
                source.key,
                start,
                min(limits.max_copy, source.size - start),
                if_match=if_match,
            )
            for number, start in enumerate(range(0, source.size, limits.max_copy), 1)
        ]
        return await store.complete_upload(upload, parts)
    except BaseException:
        await store.abort_upload(upload)
        raise
