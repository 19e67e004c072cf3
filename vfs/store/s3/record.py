"""What must be the same for every mount of a user, recorded beside the files: how keys are encoded."""

from __future__ import annotations

import json

from vfs.errors import ConfigError, ObjectNotFound, PreconditionFailed
from vfs.store.base import ObjectMeta, ObjectStore
from vfs.types import Key

NAME = "store.json"
LARGEST = 64 << 10


async def check_record(store: ObjectStore, place: str, encoding: str, *, write: bool) -> None:
    """Raises ConfigError when another encoding was used here before.

    There is a record only where it is not `plain`. The key of the record is the same in every encoding.
    """
    key = Key(f"{place}{NAME}")
    found = await _recorded(store, key)
    if found is None and encoding != "plain" and write:
        found = encoding
        body = json.dumps({"keys": encoding}).encode()
        try:
            await _create(store, key, body)
        except PreconditionFailed:
            found = await _recorded(store, key)
    if (found or "plain") != encoding and (found or write):
        raise ConfigError(
            f"store option keys={encoding}: the files of this user were stored with keys={found or 'plain'}: "
            "mount with that"
        )


async def _create(store: ObjectStore, key: Key, body: bytes) -> None:
    condition = store.capabilities.conditional_put
    await store.put(key, [body], ObjectMeta(content_type="application/json"), if_absent=condition)


async def _recorded(store: ObjectStore, key: Key) -> str | None:
    try:
        got = await store.get(key, 0, LARGEST)
    except ObjectNotFound:
        return None
    try:
        return str(json.loads(bytes(got.data))["keys"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{key!r} in the store is damaged: delete it, and mount with keys= as it was"
        ) from error
