"""`agentfs gc` after a mount was killed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.conftest import MakeMount
from tests.mounting import Mount

MIB = 1 << 20


def littered(mounts: MakeMount) -> Mount:
    """Killed while a file was streamed, and while another had no name any more but was open."""
    mount = mounts(native=False)
    (mount.workspace / "kept").write_bytes(b"kept")
    (mount.workspace / "nameless").write_bytes(b"x" * 100)
    nameless = os.open(mount.workspace / "nameless", os.O_RDONLY)
    (mount.workspace / "nameless").unlink()
    streamed = os.open(mount.workspace / "streamed", os.O_WRONLY | os.O_CREAT)
    for _ in range(40):
        os.write(streamed, bytes(MIB))
    os.pread(nameless, 10, 0)
    mount.kill9()
    for descriptor in (nameless, streamed):
        with contextlib.suppress(OSError):  # its file system is gone
            os.close(descriptor)
    return mount


def private(mount: Mount) -> list[Path]:
    return [path for path in (mount.user_dir / ".agentfs").rglob("*") if path.is_file()]


def test_what_a_killed_mount_left_is_shown_then_removed(mounts: MakeMount) -> None:
    mount = littered(mounts)
    gc = ("gc", "--user", mount.options.user, "--store", mount.store_url)
    young = mount.agentfs(*gc)
    assert (young.returncode, young.stdout) == (0, "removed 0 of user u1\n"), young.stderr
    shown = mount.agentfs(*gc, "--older-than", "0", "--dry-run")
    kinds = sorted(line.split()[0] for line in shown.stdout.splitlines())
    assert kinds == ["orphan", "upload", "would"], shown.stdout + shown.stderr
    assert "would remove 2 of user u1" in shown.stdout
    assert private(mount)
    done = mount.agentfs(*gc, "--older-than", "0")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "removed 2 of user u1")
    assert not [path for path in private(mount) if "orphans" in path.parts]
    assert mount.agentfs(*gc, "--older-than", "0").stdout == "removed 0 of user u1\n"
    mount.start()
    assert sorted(os.listdir(mount.workspace)) == ["kept"]


def test_bad_input(mounts: MakeMount) -> None:
    mount = mounts(started=False)
    for args in (
        ("gc",),
        ("gc", "--user", "../x"),
        ("gc", "--user", "u1", "--older-than", "soon"),
        ("gc", "--user", "u1", "--store", "ftp://x"),
    ):
        done = mount.agentfs(*args)
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1, done.stderr
