"""Chapter 11: extended attributes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.mounting import Mount
from tests.semantics.document import semantics
from tests.semantics.program import fails_with


@pytest.fixture(params=["file", "directory"])
def path(request: pytest.FixtureRequest, work: Path) -> Path:
    made = work / request.param
    if request.param == "file":
        made.write_bytes(b"content")
    else:
        made.mkdir()
    return made


@semantics("S11.1")
def test_attributes_of_any_bytes_persist(disk: Mount, path: Path) -> None:
    values = {"user.empty": b"", "user.binary": bytes(range(256)), "user.é ü=%\n": b"a name may be anything"}
    for name, value in values.items():
        os.setxattr(path, name, value)
    os.setxattr(path, "user.gone", b"x")
    os.removexattr(path, "user.gone")
    for _ in range(2):
        assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == values
        disk.remount()


@semantics("S11.2")
def test_create_replace_and_what_is_missing(path: Path) -> None:
    with fails_with(errno.ENODATA):
        os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)
    with fails_with(errno.EEXIST):
        os.setxattr(path, "user.a", b"3", os.XATTR_CREATE)
    assert os.getxattr(path, "user.a") == b"2"
    os.setxattr(path, "user.a", b"4", os.XATTR_REPLACE)
    assert os.getxattr(path, "user.a") == b"4"
    for call in (os.getxattr, os.removexattr):
        with fails_with(errno.ENODATA):
            call(path, "user.missing")


@semantics("S11.3")
def test_what_does_not_fit_changes_nothing(disk: Mount, path: Path) -> None:
    os.setxattr(path, "user.large", b"x" * 1_200)
    for size in (1_600, 60_000):
        with fails_with(errno.ENOSPC):
            os.setxattr(path, "user.more", b"y" * size)
        with fails_with(errno.ENOSPC):
            os.setxattr(path, "user.large", b"y" * size)
    for _ in range(2):
        assert os.listxattr(path) == ["user.large"]
        assert os.getxattr(path, "user.large") == b"x" * 1_200
        disk.remount()


@semantics("S11.4")
def test_other_namespaces(path: Path) -> None:
    acl = b"\x02\x00\x00\x00"  # version 2, no entries
    for name in ("trusted.a", "security.capability", "security.agentfs", "system.posix_acl_access"):
        value = acl if name.startswith("system") else b"\x01\x00\x00\x02" + bytes(16)
        with fails_with(errno.EOPNOTSUPP):
            os.setxattr(path, name, value)
        with pytest.raises(OSError):
            os.getxattr(path, name)
    assert os.listxattr(path) == []


@semantics("S11.5")
def test_attributes_stay_with_the_file(disk: Mount, work: Path) -> None:
    path = work / "file"
    path.write_bytes(b"first")
    os.setxattr(path, "user.a", b"value")
    path.write_bytes(b"second")
    os.link(path, work / "link")
    path.rename(work / "renamed")
    os.setxattr(work / "link", "user.b", b"through the link")
    for _ in range(2):
        for name in ("renamed", "link"):
            assert os.getxattr(work / name, "user.a") == b"value"
            assert os.getxattr(work / name, "user.b") == b"through the link"
        disk.remount()
