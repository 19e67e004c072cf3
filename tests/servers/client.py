"""A plain S3 client that shares no code with the one under test: signed requests, one connection each.

AWS Signature Version 4, docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
Paths go out as they are, so that keys such as `a//b` and `..` can be written.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from xml.etree import ElementTree

SECONDS = 30.0
"""Longest wait for an answer."""


class Refused(Exception):
    """The server answered with an error. `status` is that of HTTP, the message its body."""

    def __init__(self, answer: Answer, what: str) -> None:
        super().__init__(f"{what}: {answer.status} {answer.body.decode(errors='replace')}")
        self.status = answer.status


@dataclass(frozen=True, slots=True)
class Answer:
    """Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def metadata(self) -> dict[str, str]:
        """User metadata, without its prefix."""
        prefix = "x-amz-meta-"
        return {name[len(prefix) :]: text for name, text in self.headers.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Client:
    """Speaks with one bucket, path-style. Every method raises Refused unless the status is 2xx."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    bucket: str

    def make_bucket(self) -> None:
        """Creates the bucket, or finds that it is this user's already."""
        try:
            self.request("PUT")
        except Refused as error:
            if error.status != 409:
                raise

    def put(self, key: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("PUT", key, body=body, headers=headers)

    def get(self, key: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", key, headers=headers)

    def head(self, key: str) -> Answer:
        return self.request("HEAD", key)

    def delete(self, key: str) -> None:
        self.request("DELETE", key)

    def copy(self, source: str, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        origin = {"x-amz-copy-source": quote(f"/{self.bucket}/{source}")}
        return self.request("PUT", target, headers={**origin, **(headers or {})})

    def listing(self, prefix: str = "", page_size: int = 1000) -> list[Listed]:
        """All objects under the prefix, page by page."""
        found: list[Listed] = []
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url", "max-keys": str(page_size)}
        while True:
            page = ElementTree.fromstring(self.request("GET", query=query).body)
            space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
            found += [_listed(entry, space) for entry in page.iter(f"{space}Contents")]
            token = page.findtext(f"{space}NextContinuationToken")
            if not token:
                return found
            query["continuation-token"] = token

    def keys(self, prefix: str = "") -> list[str]:
        return [entry.key for entry in self.listing(prefix)]

    def clear(self, prefix: str = "") -> None:
        for key in self.keys(prefix):
            self.delete(key)

    def request(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        path = f"/{self.bucket}" + (f"/{key}" if key else "")
        return self.send("s3", method, quote(path, safe="/-_.~"), query or {}, headers or {}, body)

    def send(
        self,
        service: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        """One signed request to any service of the endpoint; `path` is encoded already."""
        parts = urlsplit(self.endpoint)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        asked = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
        signed = self._signed(service, method, path, asked, {**headers, "host": parts.netloc}, body)
        connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
        try:
            connection.request(method, path + (f"?{asked}" if asked else ""), body, signed)
            with connection.getresponse() as reply:
                names = {name.lower(): text for name, text in reply.getheaders()}
                answer = Answer(reply.status, names, reply.read())
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise Refused(answer, f"{method} {path}")
        return answer

    def _signed(
        self, service: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        ours = {name.lower(): " ".join(text.split()) for name, text in headers.items()}
        ours |= {"x-amz-date": now, "x-amz-content-sha256": digest}
        names = ";".join(sorted(ours))
        lines = "".join(f"{name}:{ours[name]}\n" for name in sorted(ours))
        request = "\n".join([method, path, query, lines, names, digest])
        scope = f"{now[:8]}/{self.region}/{service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        secret = f"AWS4{self.secret_key}".encode()
        for word in (now[:8], self.region, service, "aws4_request"):
            secret = hmac.digest(secret, word.encode(), "sha256")
        signature = hmac.new(secret, text.encode(), "sha256").hexdigest()
        who = f"Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**ours, "authorization": f"AWS4-HMAC-SHA256 {who}"}


def _listed(entry: ElementTree.Element, space: str) -> Listed:
    def text(name: str) -> str:
        return entry.findtext(f"{space}{name}") or ""

    return Listed(unquote_plus(text("Key")), int(text("Size")), text("ETag").strip('"'))


def leaves(document: bytes) -> Iterator[tuple[str, str]]:
    """Every element of an XML answer that holds text, by its name without the namespace."""
    for element in ElementTree.fromstring(document).iter():
        if element.text and element.text.strip():
            yield element.tag.rpartition("}")[2], element.text
