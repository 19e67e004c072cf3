"""Botocore's parsed answers -> the protocol's value types, and ETags in and out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from vfs.errors import StoreUnavailable
from vfs.store.base import ObjectInfo, ObjectMeta
from vfs.types import ETag, Key

SECOND = 10**9


def etag(text: str) -> ETag:
    """Without the quotes that HTTP puts around it; some stores leave them out."""
    return ETag(text.removeprefix("W/").strip('"'))


def new_etag(answer: Mapping[str, Any], about: str) -> ETag:
    """Of what a call has stored. Raises StoreUnavailable for an answer that does not confirm that it has."""
    told = answer.get("ETag")
    if not told:
        raise StoreUnavailable(f"{about}: the store says success and does not tell the ETag")
    return etag(told)


def quoted(tag: ETag) -> str:
    """As a precondition carries it (RFC 9110, 8.8.3)."""
    return f'"{tag}"'


def moment(text: str) -> datetime:
    """A time in any of S3's formats; 1970 for what is none.

    botocore's own parser takes 120 us: three quarters of a listing's CPU time.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            found = parsedate_to_datetime(text)
        except ValueError:
            found = datetime.fromtimestamp(0, UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def ns(when: datetime | None) -> int:
    """Whole seconds, as HEAD tells them; listings of some stores know the milliseconds."""
    return int(when.timestamp()) * SECOND if when is not None else 0


def described(key: Key, answer: Mapping[str, Any], size: int | None = None) -> ObjectInfo:
    """The version that a HEAD or a GET answered with; `size` where the answer's own is that of a range."""
    meta = ObjectMeta(
        {name.lower(): value for name, value in answer.get("Metadata", {}).items()},
        answer.get("ContentType") or ObjectMeta().content_type,
    )
    whole = int(answer.get("ContentLength", 0)) if size is None else size
    modified_ns = ns(answer.get("LastModified"))
    return ObjectInfo(key, whole, etag(answer.get("ETag", "")), modified_ns, meta, is_hashed(answer))


def is_hashed(answer: Mapping[str, Any]) -> bool:
    """False if the object is encrypted in a way that makes its etag none of its content's (SSE-KMS, SSE-C)."""
    kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    return not kms and "SSECustomerAlgorithm" not in answer


def stored_ns(answer: Mapping[str, Any]) -> int:
    """When an object came to be that was just stored: by the answer's Date, which is the store's clock."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return ns(parsedate_to_datetime(headers["date"]))
    except (KeyError, ValueError, TypeError):
        return time.time_ns() // SECOND * SECOND


def whole_size(answer: Mapping[str, Any]) -> int:
    """Size of the object that a ranged GET answered from: `bytes 5-9/10`."""
    total = str(answer.get("ContentRange", "")).rpartition("/")[2]
    return int(total) if total.isdigit() else int(answer.get("ContentLength", 0))
