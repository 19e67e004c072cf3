"""Edits of large objects: what they cost in requests and in bytes moved, and parts that every S3 store accepts."""

from __future__ import annotations

import os
import random
import sys
from collections import defaultdict
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from tests.behind_proxy import settle
from tests.conftest import MakeMount
from tests.proxy import Counting, Proxy
from tests.proxy.records import Request
from tests.servers.client import Client
from tests.servers.server import Server

MIB = 1 << 20
GIB = 1 << 30
PART = 8 * MIB
LEAST_PART = 5 * MIB
PIECE = random.Random(5).randbytes(64 * MIB)


def compose(client: Client, key: str, times: int, tail: bytes) -> None:
    """An object of so many PIECEs and a tail, put together inside the store."""
    client.put(f"{key}.piece", PIECE)
    upload = _text(client.request("POST", key, query={"uploads": ""}).body, "UploadId")
    source = {"x-amz-copy-source": f"/{client.bucket}/{key}.piece"}
    tags = []
    for number in range(1, times + 1):
        query = {"partNumber": str(number), "uploadId": upload}
        tags.append(_text(client.request("PUT", key, query=query, headers=source).body, "ETag"))
    query = {"partNumber": str(times + 1), "uploadId": upload}
    tags.append(client.request("PUT", key, query=query, body=tail).headers["etag"])
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    client.request("POST", key, query={"uploadId": upload}, body=document)
    client.delete(f"{key}.piece")


def _text(document: bytes, name: str) -> str:
    elements = ElementTree.fromstring(document).iter()
    return next(element.text or "" for element in elements if element.tag.rpartition("}")[2] == name)


def ranged(client: Client, key: str, start: int, length: int) -> bytes:
    return client.get(key, {"range": f"bytes={start}-{start + length - 1}"}).body


def parts_of(requests: tuple[Request, ...]) -> dict[str, dict[int, int]]:
    """Upload of a file -> part number -> bytes."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for request in requests:
        if "/workspace/" in request.key and request.kind in ("UploadPart", "UploadPartCopy"):
            query = parse_qs(urlsplit(request.target).query)
            found[query["uploadId"][0]][int(query["partNumber"][0])] = request.sent or request.copied
    return found


def assert_no_small_parts(requests: tuple[Request, ...], uploads: int) -> None:
    found = parts_of(requests)
    assert len(found) >= uploads, "hardly any upload was tried"
    for sizes in found.values():
        small = {number: size for number, size in sizes.items() if size < LEAST_PART and number != max(sizes)}
        assert not small, f"of {sizes}"


def assert_cost(counts: Counting, most: int, parts: int) -> None:
    kinds = counts.kinds
    sys.stderr.write(f"{kinds}, sent {counts.sent}, received {counts.received}\n")
    assert sum(kinds.values()) <= most, kinds
    assert all(max(one.sent, one.received) <= PART for one in counts.requests), "more than a part at once"
    assert counts.sent + counts.received <= parts * PART + 100_000


def test_a_gibibyte_is_edited_where_it_lies(remote: MakeMount, proxy: Proxy, s3: Server) -> None:
    """It does not end with a whole part, so that what is appended must go together with what is there."""
    mount = remote()
    key = f"{mount.user_prefix}workspace/big"
    tail = os.urandom(3 * MIB + 17)
    size = GIB + len(tail)
    compose(s3.client, key, GIB // len(PIECE), tail)
    path = mount.workspace / "big"
    assert path.stat().st_size == size
    settle(proxy)
    with proxy.counting() as counts, path.open("ab") as file:
        file.write(b"a" * 200)
    assert_cost(counts, 5, 2)
    assert ranged(s3.client, key, GIB - 10, len(tail) + 210) == PIECE[-10:] + tail + b"a" * 200
    middle = GIB // 2 + 3 * MIB
    with proxy.counting() as counts, path.open("r+b", buffering=0) as file:
        file.seek(middle)
        file.write(b"m" * 4096)
    assert_cost(counts, 7, 2)
    around = ranged(s3.client, key, middle - 4096, 3 * 4096)
    assert around == PIECE[3 * MIB - 4096 : 3 * MIB] + b"m" * 4096 + PIECE[3 * MIB + 4096 :][:4096]
    assert int(s3.client.head(key).headers["content-length"]) == size + 200
    assert_no_small_parts(proxy.requests(), 2)


class Editor:
    """Random edits of one file on the mount, and of the same bytes here."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.chance = random.Random(seed)
        self.expected = bytearray()

    def write(self, offset: int, size: int) -> None:
        data = self.chance.randbytes(size)
        if offset > len(self.expected):
            self.expected.extend(bytes(offset - len(self.expected)))
        self.expected[offset : offset + size] = data
        with self.path.open("r+b" if self.path.exists() else "wb", buffering=0) as file:
            file.seek(offset)
            for at in range(0, size, MIB):
                file.write(data[at : at + MIB])

    def step(self) -> None:
        size = len(self.expected)
        amount = self.chance.choice([1, 5000, MIB, 6 * MIB, 11 * MIB])
        match self.chance.choice(["append", "middle", "middle", "cut", "grow", "rewrite"]):
            case "append":
                self.write(size, amount)
            case "middle":
                self.write(self.chance.randrange(size), amount)
            case "grow":
                self.write(size + self.chance.randrange(9 * MIB), amount)
            case "cut":
                size = self.chance.randrange(max(1, size // 2), size + 1)
                os.truncate(self.path, size)
                del self.expected[size:]
            case "rewrite":
                self.path.unlink()
                self.expected.clear()
                self.write(0, self.chance.randrange(1, 40 * MIB))


@pytest.mark.parametrize("part_size", ["5M", "8M"])
def test_parts_are_never_too_small(remote: MakeMount, proxy: Proxy, s3: Server, part_size: str) -> None:
    seed = int(os.environ.get("AGENTFS_TEST_SEED") or random.randrange(1 << 30))
    sys.stderr.write(f"AGENTFS_TEST_SEED={seed}\n")
    mount = remote(env=(("AGENTFS_PART_SIZE", part_size),))
    editor = Editor(mount.workspace / "file", seed)
    editor.write(0, 30 * MIB)
    for _ in range(16):
        editor.step()
        stored = s3.client.get(f"{mount.user_prefix}workspace/file").body
        assert stored == editor.expected, "what was acknowledged is not what is stored"
    assert_no_small_parts(proxy.requests(), 4)
