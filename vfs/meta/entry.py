"""What is known of one stored name."""

from __future__ import annotations

from dataclasses import dataclass

from vfs.types import Attr, ETag


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored name. `marker` False: a directory that exists only because keys lie under it.

    `modified_ns` is the store's own time of this version, 0 where it is not known. On S3 it changes with the
    attributes, which the etag does not.
    """

    attr: Attr
    etag: ETag
    marker: bool = True
    modified_ns: int = 0
