"""The daemon is killed while programs write to S3: what was acknowledged is there, and what it left harms nobody."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.behind_proxy import settle
from tests.conftest import MakeMount
from tests.fuse.test_crash import crash
from tests.proxy import Hang, Proxy
from tests.servers.server import Server

MIB = 1 << 20


def uploads(server: Server, prefix: str) -> list[str]:
    """Keys of the multipart uploads that were begun and neither completed nor aborted."""
    document = ElementTree.fromstring(
        server.client.request("GET", query={"uploads": "", "prefix": prefix}).body
    )
    return [element.text or "" for element in document.iter() if element.tag.rpartition("}")[2] == "Key"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("rounds", [8, pytest.param(24, marks=pytest.mark.long)])
def test_crashes_lose_nothing_acknowledged(mounts: MakeMount, s3: Server, scratch: Path, rounds: int) -> None:
    crash(mounts(server=s3), scratch, rounds=rounds)


def test_an_upload_that_was_cut_short_is_seen_and_harms_nobody(
    remote: MakeMount, proxy: Proxy, s3: Server, scratch: Path
) -> None:
    mount = remote()
    path = mount.workspace / "file"
    path.write_bytes(b"stored")
    settle(proxy)
    last = proxy.add(Hang(), "CompleteMultipartUpload$")
    source = scratch / "source"
    source.write_bytes(b"x" * (40 * MIB))
    writer = subprocess.Popen(["cp", source, path], stderr=subprocess.DEVNULL)
    while not last.hits:
        assert writer.poll() is None
        time.sleep(0.01)
    mount.kill9()
    assert writer.wait(30) != 0
    proxy.clear()
    assert uploads(s3, mount.user_prefix) == [f"{mount.user_prefix}workspace/file"]
    mount.start()
    assert path.read_bytes() == b"stored"
    assert os.listdir(mount.workspace) == ["file"]
    assert uploads(s3, mount.user_prefix), "it is younger than the bound, and another mount may be at it"
    told = mount.agentfs("gc", "--older-than", "0s", "--dry-run", "--user", "u1", "--store", mount.store_url)
    assert told.returncode == 0, told.stderr
    assert "workspace/file" in told.stdout + told.stderr
    path.write_bytes(b"x" * (20 * MIB))
    done = mount.agentfs("gc", "--older-than", "0s", "--user", "u1", "--store", mount.store_url)
    assert done.returncode == 0, done.stderr
    assert uploads(s3, mount.user_prefix) == []
    mount.remount()
    assert path.read_bytes() == b"x" * (20 * MIB)
