"""Sizes, times and options as people write them."""

from __future__ import annotations

import pytest

from vfs.daemon import values
from vfs.daemon.mount_options import is_helper_call, parse_helper_call, parse_options
from vfs.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1024", 1024),
        ("4k", 4096),
        ("256M", 256 << 20),
        ("1.5G", 3 << 29),
        ("8MiB", 8 << 20),
        ("2 GB", 2 << 30),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert values.size(0)(text) == value


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "0x10", "1e6", "١", "nan", "99999999T"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^use "):
        values.size(0)(text)


@pytest.mark.parametrize(("value", "text"), [(0, "0B"), (1023, "1023B"), (1 << 20, "1M"), (3 << 29, "1.5G")])
def test_sizes_are_shown_as_they_are_written(value: int, text: str) -> None:
    assert values.show_size(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("2d", 172800.0),
    ],
)
def test_times(text: str, value: float) -> None:
    assert values.duration(0)(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-1", "1w", "inf", "nan", "99999d"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"^use "):
        values.duration(0)(text)


@pytest.mark.parametrize(
    ("value", "text"), [(0.4, "0s"), (59, "59s"), (303, "5m 3s"), (7200, "2h"), (273600, "3d 4h")]
)
def test_times_are_shown_in_two_units(value: float, text: str) -> None:
    assert values.show_duration(value) == text


@pytest.mark.parametrize("text", ["", "8", "1000", "u=rwx", "0x12", "-1"])
def test_what_is_no_mask(text: str) -> None:
    with pytest.raises(ValueError, match="octal"):
        values.mask(text)


def test_an_fstab_line_is_understood() -> None:
    settings, config_file = parse_options(
        "rw,_netdev,nofail,x-systemd.automount,comment=mine,user,agentfs_user=u1,ram_limit=64M,ro,noexec,"
        "allow_other,uid=1000,umask=077,config=/etc/a.toml"
    )
    assert config_file == "/etc/a.toml"
    assert settings == {
        "user": "u1",
        "ram_limit": "64M",
        "read_only": "yes",
        "allow_other": "yes",
        "uid": "1000",
        "umask": "077",
        "fuse_options": "noexec",
    }


@pytest.mark.parametrize("option", ["agentfs_user=u1", "user_id=u1", "user=u1"])
def test_the_user_has_three_names(option: str) -> None:
    assert parse_options(f"defaults,{option}")[0] == {"user": "u1"}


@pytest.mark.parametrize("option", ["ram-limit=1G", "ram_limit=1G"])
def test_an_option_may_be_written_as_the_flag(option: str) -> None:
    assert parse_options(option)[0] == {"ram_limit": "1G"}


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"-o ram_limt=1G: unknown option; did you mean ram_limit\?"):
        parse_options("ram_limt=1G")


def test_an_option_that_needs_a_value_says_so() -> None:
    with pytest.raises(ConfigError, match="-o ram_limit: needs a value, ram_limit=SIZE"):
        parse_options("ram_limit")


def test_the_call_of_mount_is_told_from_our_own_commands() -> None:
    commands = {"mount", "status"}
    assert is_helper_call(["agentfs", "/mnt/a", "-o", "rw,user_id=u1"], commands)
    assert is_helper_call(["file:///srv", "/mnt/a", "-o", "rw"], commands)
    assert not is_helper_call(["mount", "/mnt/a", "-o", "user=u1"], commands)
    assert not is_helper_call(["mount", "/mnt/a", "--user", "u1"], commands)
    assert not is_helper_call(["--help"], commands)
    assert not is_helper_call([], commands)


@pytest.mark.parametrize("source", ["agentfs", "none"])
def test_a_source_without_meaning_leaves_the_store_open(source: str) -> None:
    call = parse_helper_call([source, "/mnt/a", "-sv", "-o", "rw,agentfs_user=u1"])
    assert (call.mountpoint, call.settings, call.fake) == ("/mnt/a", {"user": "u1"}, False)


def test_the_source_is_the_store() -> None:
    call = parse_helper_call(["file:///srv", "/mnt/a", "-f", "-n", "-t", "fuse.agentfs", "-orw,user=u1"])
    assert call.settings == {"store": "file:///srv", "user": "u1"}
    assert call.fake


def test_what_mount_adds_by_itself_does_not_weaken_the_mount() -> None:
    words = "rw,user_id=u1,nofail,exec,suid,dev"
    assert parse_helper_call(["agentfs", "/mnt/a", "-o", words]).settings == {"user": "u1"}
    assert parse_options("suid,dev")[0] == {"fuse_options": "suid,dev"}


@pytest.mark.parametrize(
    "argv", [[], ["agentfs"], ["a", "b", "c"], ["a", "b", "-o"], ["a", "b", "-z"], ["a", "b", "--x"]]
)
def test_a_call_that_mount_would_not_make_is_refused(argv: list[str]) -> None:
    with pytest.raises(ConfigError):
        parse_helper_call(argv)
