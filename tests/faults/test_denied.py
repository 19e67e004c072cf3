"""What the store forbids is EACCES for the program, and the cause is told in `status` and in the log."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.servers.ministack import MiniStack

MIB = 1 << 20


@contextmanager
def denied(what: str = "") -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(OSError) as refused:
        yield
    assert refused.value.errno == errno.EACCES, f"{what}: {refused.value}"
    assert time.monotonic() - began < 10, f"{what} was tried again and again"


def assert_told(mount: Mount, cause: str) -> None:
    told = mount.agentfs("status", str(mount.root)).stdout
    assert cause in told
    assert cause in mount.log.read_text()


def test_a_user_who_may_not_write_in_one_place(mounts: MakeMount, ministack: MiniStack) -> None:
    user = ministack.make_user()
    mount = mounts(server=user)
    mount.expect_log("AccessDenied|not stored")
    locked = mount.workspace / "locked"
    locked.mkdir()
    (locked / "file").write_bytes(b"old")
    ministack.deny(user, ["s3:PutObject", "s3:DeleteObject"], f"{mount.user_prefix}workspace/locked/")
    attempts: dict[str, Callable[[], object]] = {
        "rewrite": lambda: (locked / "file").write_bytes(b"new"),
        "create": lambda: (locked / "new").write_bytes(b"new"),
        "create large": lambda: (locked / "large").write_bytes(b"x" * (30 * MIB)),
        "unlink": (locked / "file").unlink,
        "chmod": lambda: (locked / "file").chmod(0o600),
        "mkdir": (locked / "sub").mkdir,
        "rename": lambda: (locked / "file").rename(mount.workspace / "taken"),
        "symlink": lambda: (locked / "link").symlink_to("file"),
    }
    for name, attempt in attempts.items():
        with denied(name):
            attempt()
    assert_told(mount, "AccessDenied")
    (mount.workspace / "elsewhere").write_bytes(b"fine")
    ministack.deny(user, [])
    mount.remount()
    assert (locked / "file").read_bytes() == b"old"
    assert sorted(os.listdir(locked)) == ["file"]


def test_a_user_who_may_not_read(mounts: MakeMount, ministack: MiniStack) -> None:
    user = ministack.make_user()
    mount = mounts(server=user)
    mount.expect_log("AccessDenied|403")
    (mount.workspace / "file").write_bytes(b"content")
    mount.remount()
    ministack.deny(user, ["s3:GetObject"], f"{mount.user_prefix}workspace/")
    with denied("read"):
        (mount.workspace / "file").read_bytes()
    ministack.deny(user, [])
    assert (mount.workspace / "file").read_bytes() == b"content"


def test_credentials_are_revoked_while_mounted(mounts: MakeMount, ministack: MiniStack) -> None:
    """Nothing is lost that was acknowledged, nobody waits, and all is well once they are valid again."""
    user = ministack.make_user()
    mount = mounts(server=user)
    mount.expect_log("InvalidAccessKeyId|AccessDenied|403|401|not stored")
    path = mount.workspace / "file"
    path.write_bytes(b"acknowledged")
    with path.open("r+b", buffering=0) as file:
        file.write(b"A")
        ministack.switch_key(user, on=False)
        with denied("fsync"):
            os.fsync(file.fileno())
        with denied("close"):
            file.close()
    with denied("create"):
        (mount.workspace / "new").write_bytes(b"new")
    assert_told(mount, "InvalidAccessKeyId")
    assert user.secret_key not in mount.log.read_text() + mount.agentfs("status", "--json").stdout
    ministack.switch_key(user, on=True)
    assert path.read_bytes() == b"acknowledged"
    (mount.workspace / "new").write_bytes(b"new")
    mount.remount()
    assert path.read_bytes() == b"acknowledged"
    assert (mount.workspace / "new").read_bytes() == b"new"
