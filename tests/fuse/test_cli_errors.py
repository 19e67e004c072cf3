"""Bad input: one line that says what to do, an exit code that is not 0, and nothing mounted."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import MakeMount
from tests.mounting import Mount
from tests.semantics.program import Stored


@pytest.fixture
def place(mounts: MakeMount) -> Mount:
    return mounts(started=False)


def refused(place: Mount, *args: str, code: int = 1, env: dict[str, str] | None = None) -> str:
    """The one line, without its beginning."""
    mount = place if env is None else Mount(place.base, _with(place, env), place.store_dir)
    done = mount.agentfs(*args)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("agentfs: ")
    assert not place.mounted
    return line.removeprefix("agentfs: ")


def _with(place: Mount, env: dict[str, str]) -> object:
    import dataclasses

    return dataclasses.replace(place.options, env=tuple(env.items()))


def refused_mount(place: Mount, *args: str, code: int = 1, env: dict[str, str] | None = None) -> str:
    return refused(place, "mount", str(place.root), *args, code=code, env=env)


def test_unknown_store_scheme(place: Mount) -> None:
    line = refused_mount(place, "--user", "u1", "--store", "ftp://host/x")
    assert (
        line
        == "store 'ftp://host/x': use s3://bucket/prefix, file:///absolute/directory, or a path that starts with /"
    )


def test_a_store_that_cannot_be_written(place: Mount) -> None:
    (place.base / "file").write_text("")
    line = refused_mount(place, "--user", "u1", "--store", f"file://{place.base}/file")
    assert f"{place.base}/file" in line


def test_user_with_a_way_out(place: Mount) -> None:
    line = refused_mount(place, "--user", "../x", code=2)
    assert line.startswith("--user: '../x' is not allowed: use 1 to 128 of")


def test_no_user(place: Mount) -> None:
    assert refused_mount(place).startswith("whose files? Say --user ID")


def test_mountpoint_missing(place: Mount) -> None:
    path = place.base / "missing"
    line = refused(place, "mount", str(path), "--user", "u1")
    assert line == f"{path} does not exist: run `mkdir -p {path}` first"


def test_mountpoint_not_empty(place: Mount) -> None:
    (place.root / "file").write_text("")
    assert f"{place.root} is not empty: choose an empty directory" in refused_mount(place, "--user", "u1")
    assert (place.root / "file").exists()


def test_mountpoint_is_a_file(place: Mount) -> None:
    (place.base / "file").write_text("")
    line = refused(place, "mount", str(place.base / "file"), "--user", "u1")
    assert line == f"{place.base}/file is not a directory: choose an empty directory"


def test_mountpoint_is_another_mount(place: Mount) -> None:
    line = refused(place, "mount", "/proc", "--user", "u1")
    assert line == "/proc is already a mount (proc): choose another directory, or `umount /proc`"


def test_no_fuse_device_in_this_namespace(place: Mount) -> None:
    assert os.geteuid() == 0, "hiding /dev/fuse needs root"
    argv = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh", *_mount(place)]
    done = subprocess.run(argv, env=place.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "agentfs: there is no /dev/fuse: run `modprobe fuse` as root, or start the container"
    )
    assert len(done.stderr.splitlines()) == 1


def test_root_without_the_right_to_mount(place: Mount) -> None:
    assert os.geteuid() == 0, "dropping a capability needs it"
    argv = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", *_mount(place)]
    done = subprocess.run(argv, env=place.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "agentfs: no permission to mount (CAP_SYS_ADMIN is missing): start the container"
    )


def _mount(place: Mount) -> list[str]:
    import sys

    return [
        sys.executable,
        "-m",
        "mount",
        "mount",
        str(place.root),
        "--user",
        "u1",
        "--store",
        place.store_url,
    ]


def test_misspelled_variable(place: Mount) -> None:
    line = refused_mount(place, "--user", "u1", env={"AGENTFS_USR": "u1"})
    assert line == "AGENTFS_USR is not a setting; did you mean AGENTFS_USER?"


def test_mistake_in_the_settings_file(place: Mount) -> None:
    (place.base / "agentfs.toml").write_text('user = "u1"\nram_limit = "a lot"\n')
    line = refused_mount(place)
    assert line.startswith(f"{place.base}/agentfs.toml:2: ram_limit: 'a lot' is not allowed: use a size")


def test_settings_file_missing(place: Mount) -> None:
    line = refused_mount(place, "--user", "u1", "--config", "/nowhere/agentfs.toml")
    assert line == "/nowhere/agentfs.toml: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--ram-limit", "much"), "--ram-limit: 'much' is not allowed: use a size such as 64M or 1G"),
        (("--umask", "9"), "--umask: '9' is not allowed: use an octal mask such as 022"),
        (("--uid", "root"), "--uid: 'root' is not allowed: use a whole number"),
        (("--log-level", "loud"), "--log-level: 'loud' is not allowed: use one of debug"),
        (("--memory-ttl", "soon"), "--memory-ttl: 'soon' is not allowed: use seconds"),
        (("--redis", "http://x"), "--redis: 'http://x' is not allowed: use redis://"),
        (("--redis", "redis://:secret@x"), "--redis: a password on the command line is seen by everyone"),
        (("--frobnicate",), "No such option"),
    ],
)
def test_bad_flags(place: Mount, args: tuple[str, ...], says: str) -> None:
    line = refused_mount(place, "--user", "u1", *args, code=2)
    assert says.lower() in line.lower()
    assert "secret" not in line


def test_unknown_option_after_o(place: Mount) -> None:
    line = refused_mount(place, "--user", "u1", "-o", "noexec,ram_limt=64M")
    assert line == "-o ram_limt=64M: unknown option; did you mean ram_limit?"


def test_log_file_that_cannot_be_written(place: Mount) -> None:
    line = refused_mount(
        place, "--user", "u1", "--store", place.store_url, "--log-file", "/nowhere/log", "-f"
    )
    assert line == "log file /nowhere/log: No such file or directory: choose another with --log-file"


def test_runtime_directory_of_others(place: Mount) -> None:
    (place.base / "run" / "agentfs").mkdir(mode=0o700)
    (place.base / "run" / "agentfs").chmod(0o777)
    line = refused_mount(place, "--user", "u1", "--store", place.store_url)
    assert line.startswith(
        f"runtime directory {place.base}/run/agentfs must belong to uid {os.geteuid()} with mode 0700"
    )


def test_umount_of_what_is_not_ours(place: Mount) -> None:
    assert refused(place, "umount", "/proc") == "/proc is not an agentfs mount (proc): use `umount /proc`"
    line = refused(place, "umount", str(place.root))
    assert line == f"{place.root} is not mounted: `agentfs status` lists what is"
    assert "is not mounted" in refused(place, "umount", "--force", str(place.base / "missing"))
    assert "use seconds" in refused(place, "umount", "/proc", "--timeout", "soon", code=2)


def test_status_of_what_is_not_ours(place: Mount) -> None:
    assert refused(place, "status", "/proc").startswith("/proc is not an agentfs mount (proc)")
    assert refused(place, "status", str(place.root)).startswith(f"{place.root} is not mounted")


def test_usage(place: Mount) -> None:
    assert "missing argument" in refused(place, "mount", code=2).lower()
    assert "agentfs --help" in refused(place, "mont", "x", code=2)
    assert "which shell?" in refused(place, "completion", code=2, env={"SHELL": "/bin/none"})


def test_help_has_examples_everywhere(place: Mount) -> None:
    for command in ([], ["mount"], ["umount"], ["status"], ["doctor"], ["completion"]):
        done = place.agentfs(*command, "--help")
        assert done.returncode == 0
        assert "Examples:\n" in done.stdout
        assert "  agentfs " in done.stdout
    assert place.agentfs("--version").stdout.startswith("agentfs ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(place: Mount, shell: str) -> None:
    assert "_AGENTFS_COMPLETE" in place.agentfs("completion", shell).stdout


def test_completion_knows_commands_and_flags(place: Mount) -> None:
    env = {"_AGENTFS_COMPLETE": "bash_complete", "COMP_WORDS": "agentfs mount --ram", "COMP_CWORD": "2"}
    done = Mount(place.base, _with(place, env), place.store_dir).agentfs()
    assert "plain,--ram-limit" in done.stdout


def test_doctor(place: Mount) -> None:
    done = place.agentfs("doctor", "--store", place.store_url)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-1] == "all is well"
    assert "failed" not in done.stdout
    assert not list(place.store_dir.rglob("*doctor*/*"))


def test_doctor_says_what_to_mend(place: Mount) -> None:
    (place.base / "file").write_text("")
    done = place.agentfs("doctor", "--store", f"file://{place.base}/file", "--json")
    assert done.returncode == 1
    import json

    failed = [check for check in json.loads(done.stdout) if check["state"] == "failed"]
    assert failed
    assert all(check["fix"] for check in failed)
    assert Path(place.base / "file").read_text() == ""


def test_a_redis_that_is_not_there_delays_nothing_and_its_password_is_never_shown(place: Mount) -> None:
    env = {"REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}
    mount = Mount(place.base, _with(place, env), place.store_dir)
    done = mount.agentfs("mount", str(place.root), "--user", "u1", "--store", place.store_url)
    try:
        assert (done.returncode, done.stderr) == (0, "")
        (place.workspace / "file").write_bytes(b"stored")
        assert Stored(place).bytes(place.workspace / "file") == b"stored"
        status = place.agentfs("status", str(place.root), "--json").stdout
        assert json.loads(status)["shared"]["state"] == "away"
        log = Path(json.loads(status)["log_file"]).read_text()
        assert "hunter2" not in status + log + done.stdout
    finally:
        assert place.agentfs("umount", str(place.root)).returncode == 0


@pytest.mark.parametrize("url", ["http://host", "redis://host:port", "redis://"])
def test_a_redis_url_that_is_none(place: Mount, url: str) -> None:
    line = refused_mount(
        place,
        "--user",
        "u1",
        "--store",
        place.store_url,
        "--redis",
        url,
        code=1 if url != "http://host" else 2,
    )
    assert "redis://host" in line
