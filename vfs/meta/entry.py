"""What is known of one stored name."""

from __future__ import annotations

from dataclasses import dataclass

from vfs.types import Attr, ETag

SECOND_NS = 1_000_000_000


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
    exact: bool = False
    """The store itself told attributes and time together; after an own write they come from two places."""

    def is_version(self, etag: ETag, modified_ns: int) -> bool:
        """True if that is what a listing shows of this version. Listings of S3 have whole seconds."""
        near = abs(self.modified_ns - modified_ns) <= SECOND_NS or not self.modified_ns
        return self.etag == etag and near
