"""What the proxy saw: one record per request, named as S3's documentation names the operation."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, unquote, urlsplit

from tests.proxy.wire import Head


@dataclass(frozen=True, slots=True)
class Request:
    """`kind` is S3's name (PutObject, UploadPartCopy, ...). `sent` and `received` are bytes of bodies.

    HTTP's chunk framing is not counted, the signatures of `aws-chunked` are.
    `status` is the server's (or a Status action's), None while or when there is none; that of a lost reply is what
    the client did not get to see. `faults` are the names of the actions that struck it. `copied` is how many bytes
    an UploadPartCopy asks for; 0 where it names no range.
    """

    method: str
    target: str
    kind: str
    bucket: str
    key: str
    sent: int = 0
    received: int = 0
    status: int | None = None
    faults: tuple[str, ...] = ()
    ended: bool = False
    copied: int = 0

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.kind}"


_OF_BUCKET = {
    "GET": ("ListObjects", {
        "list-type": "ListObjectsV2", "uploads": "ListMultipartUploads", "location": "GetBucketLocation",
        "versioning": "GetBucketVersioning", "versions": "ListObjectVersions",
    }),
    "HEAD": ("HeadBucket", {}),
    "PUT": ("CreateBucket", {"versioning": "PutBucketVersioning"}),
    "POST": ("PostObject", {"delete": "DeleteObjects"}),
    "DELETE": ("DeleteBucket", {}),
}  # fmt: skip
_OF_OBJECT = {
    "GET": ("GetObject", {
        "uploadId": "ListParts", "tagging": "GetObjectTagging", "attributes": "GetObjectAttributes",
    }),
    "HEAD": ("HeadObject", {}),
    "PUT": ("PutObject", {"partNumber": "UploadPart", "tagging": "PutObjectTagging"}),
    "POST": ("PostObject", {"uploads": "CreateMultipartUpload", "uploadId": "CompleteMultipartUpload"}),
    "DELETE": ("DeleteObject", {"uploadId": "AbortMultipartUpload", "tagging": "DeleteObjectTagging"}),
}  # fmt: skip
_COPIES = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
Names = Mapping[str, tuple[str, Mapping[str, str]]]


def named(head: Head) -> Request:
    """The record of a request with path-style addressing; `kind` is the method where S3 knows no such request."""
    parts = urlsplit(head.target)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    names: Names = _OF_OBJECT if key else _OF_BUCKET
    kind, special = names.get(head.method, (head.method, {}))
    if not bucket and head.method == "GET":
        kind = "ListBuckets"
    query = parse_qs(parts.query, keep_blank_values=True)
    kind = next((name for field, name in special.items() if field in query), kind)
    if "x-amz-copy-source" in head.fields:
        kind = _COPIES.get(kind, kind)
    return Request(head.method, head.target, kind, bucket, key, copied=_copied(head))


def _copied(head: Head) -> int:
    """Of `bytes=5-9`: 5."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", head.fields.get("x-amz-copy-source-range", ""))
    return int(found[2]) - int(found[1]) + 1 if found else 0


class Book:
    """All records, in the order in which the requests came. Each is there, and right, before its answer is sent."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def open(self, request: Request) -> int:
        """Files the record; returns its number."""
        with self._changed:
            self._requests.append(request)
            return len(self._requests) - 1

    def note(
        self,
        number: int,
        *,
        sent: int = 0,
        received: int = 0,
        status: int | None = None,
        ended: bool = False,
    ) -> None:
        """Adds to what the record says; called by the one thread that serves the request."""
        with self._changed:
            known = self._requests[number]
            self._requests[number] = replace(
                known,
                sent=known.sent + sent,
                received=known.received + received,
                status=known.status if status is None else status,
                ended=known.ended or ended,
            )
            self._changed.notify_all()

    def read(self, start: int = 0, end: int | None = None) -> tuple[Request, ...]:
        with self._changed:
            return tuple(self._requests[start:end])

    def wait_idle(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: all(one.ended for one in self._requests), seconds)


class Counting:
    """The requests since the block began, until it ended."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._start = len(book)
        self._end: int | None = None

    @contextmanager
    def block(self) -> Iterator[Counting]:
        try:
            yield self
        finally:
            self._end = len(self._book)

    @property
    def requests(self) -> tuple[Request, ...]:
        return self._book.read(self._start, self._end)

    @property
    def kinds(self) -> dict[str, int]:
        """How many of each kind; compares with a plain dict."""
        return dict(Counter(request.kind for request in self.requests))

    def of(self, kind: str) -> tuple[Request, ...]:
        return tuple(request for request in self.requests if request.kind == kind)

    @property
    def sent(self) -> int:
        return sum(request.sent for request in self.requests)

    @property
    def received(self) -> int:
        return sum(request.received for request in self.requests)
