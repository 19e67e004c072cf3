"""The README's table and agentfs.toml.example say what `vfs.daemon.settings` does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from vfs.config import Config
from vfs.daemon.settings import SETTINGS, Setting, resolve, show_default

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLE = PROJECT / "agentfs.toml.example"
MOUNTPOINT = Path("/mnt/agent")


def row(setting: Setting) -> str:
    """What the README must say of a setting, word for word."""
    metavar = f" {setting.metavar}" if setting.metavar and not setting.is_switch else ""
    flag = f"`{setting.flag}{metavar}`" if setting.on_command_line else ""
    default = show_default(setting)
    cells = [
        flag,
        f"`{setting.variable}`",
        f"`{setting.name}`",
        f"`{default}`" if default else "",
        setting.help,
    ]
    return f"| {' | '.join(cells)} |"


def test_the_readme_lists_every_setting_in_order() -> None:
    text = (PROJECT / "README.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| [^|]*\| `AGENTFS_", line)]
    assert rows == [row(setting) for setting in SETTINGS]


def test_the_example_shows_every_key() -> None:
    keys = re.findall(r"^#?([a-z_]+) = ", EXAMPLE.read_text(), re.MULTILINE)
    assert sorted(keys) == sorted(setting.name for setting in SETTINGS)


def test_the_example_holds_the_defaults(tmp_path: Path) -> None:
    """Every key uncommented, one at a time what the code does without it."""
    file = tmp_path / "agentfs.toml"
    file.write_text(re.sub(r"^#(?=[a-z_]+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    said = resolve(MOUNTPOINT, {}, environ={}, config_file=str(file))
    plain = Config(mountpoint=MOUNTPOINT, user=said.user)
    depends = {"store", "redis", "uid", "gid", "fuse_options", "log_file"}
    wrong = {
        field.name: (getattr(said, field.name), getattr(plain, field.name))
        for field in dataclasses.fields(Config)
        if field.name not in depends and getattr(said, field.name) != getattr(plain, field.name)
    }
    assert not wrong


def test_the_example_as_it_is_changes_nothing() -> None:
    said = resolve(MOUNTPOINT, {"user": "u1"}, environ={}, config_file=str(EXAMPLE))
    assert said == Config(mountpoint=MOUNTPOINT, user="u1")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_a_field_of_config(setting: Setting) -> None:
    assert setting.name in {field.name for field in dataclasses.fields(Config)}
