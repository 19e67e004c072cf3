"""What `agentfs doctor` tells of a store: on servers that lack different things, and on stubs that lack more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.ministack import MiniStack
from tests.servers.server import Server
from tests.servers.swift import Swift
from tests.wire import Reply, Seen, error, store_on
from vfs.config import Config
from vfs.store.opening import open_store, prepare, survey
from vfs.store.s3.probe import Findings
from vfs.store.s3.survey import survey as ask


async def rows(server: Server, patch: pytest.MonkeyPatch, **options: str) -> dict[str, tuple[str, str]]:
    """What was found, and what follows, by feature. Nothing may be left behind."""
    for name, value in server.env.items():
        patch.setenv(name, value)
    url = server.store_url("survey", **options)
    config = Config(mountpoint=Path("/nowhere"), user="u1", store=url)
    store = open_store(url, config)
    try:
        await prepare(store, config)
        found = await survey(store, config)
        assert list(await store.list_uploads("")) == []
    finally:
        await store.aclose()
    assert [key for key in server.client.keys("survey/") if "store.json" not in key] == []
    return {feature: (said, follows) for feature, said, follows in found}


async def test_a_good_one(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await rows(ministack.server, monkeypatch)
    assert not [follows for _, follows in found.values() if follows]
    assert found["least part"] == ("not enforced", "")
    assert found["presigned URL"] == ("works", "")
    assert found["characters in keys"] == ("all", "")
    assert found["clock"] == ("as the store's", "")


async def test_restricted_keys(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await rows(ministack.server, monkeypatch, keys="restricted"))["characters in keys"] == ("all", "")


@pytest.mark.swift
async def test_swift(swift: Swift, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await rows(swift.server, monkeypatch)
    assert found["least part"] == ("enforced, 5 MiB", "")
    assert found["parts of a file"][0] == "1000"
    assert found["conditional put"][0] == "missing"
    assert found["presigned URL"] == ("works", "")


async def test_a_poor_one(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses all but plain keys, links and parts; its clock is years ahead."""
    for name, value in ministack.server.env.items():
        monkeypatch.setenv(name, value)

    def answer(seen: Seen) -> Reply:
        if "X-Amz-Signature" in seen.target:
            return error("AccessDenied", 403)
        if "uploads" in seen.target:
            return error("NotImplemented", 501)
        if seen.method == "PUT" and ("%" in seen.target or "!" in seen.target) and "url" not in seen.target:
            return error("InvalidKey", 400)
        return Reply(headers={"etag": '"e"'})

    async with store_on(answer) as (store, _served):
        found = {row.feature: row for row in await ask(store, Findings(copy_part=False), "place/")}
    assert found["least part"].found == "failed"
    assert "uploads all of it" in found["UploadPartCopy"].follows
    assert "mount with keys=restricted" in found["characters in keys"].follows
    assert found["presigned URL"].found == "status 403"
    assert "set this machine's clock" in found["clock"].follows
