"""What wins, what is refused, and how the refusal names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfs.config import MIB, Config
from vfs.daemon.settings import SETTINGS, FlagError, resolve
from vfs.errors import ConfigError

POINT = Path("/mnt/agent")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No agentfs.toml of this machine takes part."""
    monkeypatch.chdir(tmp_path)


def made(*, environ: dict[str, str] | None = None, toml: str = "", **flags: str) -> Config:
    if toml:
        Path("agentfs.toml").write_text(toml)
    given = {"user": "u1", **flags} if "user =" not in toml else flags
    return resolve(POINT, given, environ=environ or {})


def refused(**given: object) -> str:
    with pytest.raises(ConfigError) as refusal:
        made(**given)  # type: ignore[arg-type]
    text = str(refusal.value)
    assert "\n" not in text
    return text


def test_every_setting_is_a_field_and_every_field_can_be_set() -> None:
    assert {setting.name for setting in SETTINGS} | {"mountpoint"} == set(Config.__dataclass_fields__)


def test_defaults_are_those_of_config() -> None:
    assert made() == Config(mountpoint=POINT, user="u1")


def test_flag_beats_environment_beats_file_beats_default() -> None:
    toml = 'ram_limit = "32M"\nuploads = 3\nnegative_ttl = 1.5\n'
    environ = {"AGENTFS_RAM_LIMIT": "48M", "AGENTFS_UPLOADS": "4"}
    config = made(toml=toml, environ=environ, ram_limit="64M")
    assert (config.ram_limit, config.uploads, config.negative_ttl) == (64 * MIB, 4, 1.5)
    assert config.store_timeout == Config(mountpoint=POINT, user="u1").store_timeout


def test_user_may_come_from_anywhere_and_must_come() -> None:
    assert resolve(POINT, {}, environ={"AGENTFS_USER": "env"}).user == "env"
    with pytest.raises(ConfigError, match=r"--user ID.*AGENTFS_USER"):
        resolve(POINT, {}, environ={})
    Path("agentfs.toml").write_text('user = "file"')
    assert resolve(POINT, {}, environ={}).user == "file"


@pytest.mark.parametrize(
    ("place", "environ"),
    [
        ("here/agentfs.toml", {"AGENTFS_CONFIG": "here/agentfs.toml"}),
        ("config/agentfs/agentfs.toml", {"XDG_CONFIG_HOME": "{root}/config"}),
        ("home/.config/agentfs/agentfs.toml", {"HOME": "{root}/home"}),
    ],
)
def test_the_file_is_found_in_the_usual_places(tmp_path: Path, place: str, environ: dict[str, str]) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text('log_level = "debug"')
    environ = {name: text.format(root=tmp_path) for name, text in environ.items()}
    assert made(environ=environ).log_level == "debug"


def test_the_working_directory_comes_first_and_a_named_file_before_it(tmp_path: Path) -> None:
    (tmp_path / "config" / "agentfs").mkdir(parents=True)
    (tmp_path / "config" / "agentfs" / "agentfs.toml").write_text("uploads = 1")
    (tmp_path / "named.toml").write_text("uploads = 3")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert made(toml="uploads = 2", environ=environ).uploads == 2
    assert resolve(POINT, {"user": "u"}, environ=environ, config_file="named.toml").uploads == 3


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    text = refused(environ={"AGENTFS_CONFIG": "missing.toml"})
    assert text == f"{tmp_path}/missing.toml: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("toml", "line", "says"),
    [
        ("# hello\n\nram_limt = '1G'\n", 3, "ram_limt is not a setting; did you mean ram_limit?"),
        ("user = 'a'\nram_limit = 'much'\n", 2, "ram_limit: 'much' is not allowed: use a size"),
        ("ram_limit = '1K'\n", 1, "use at least 16M"),
        ("\n\numask = '9'\n", 3, "octal"),
        ("user = '../x'\n", 1, "user: '../x' is not allowed: use 1 to 128 of"),
        ("\nread_only = 'maybe'\n", 2, "use yes or no"),
        ("uploads = 2\n[cache]\nsize = 1\n", 2, "cache must be one value"),
        ("uploads = 2\nuser = \n", 2, "is not TOML"),
        ("uploads = 2\nuploads = 3\n", 2, "is not TOML"),
        ("store = 'sqlite://k:secret@host/'\n", 1, "no secrets in a store's URL"),
    ],
)
def test_a_mistake_in_the_file_is_named_by_line(tmp_path: Path, toml: str, line: int, says: str) -> None:
    text = refused(toml=toml)
    assert text.startswith(f"{tmp_path}/agentfs.toml:{line}: "), text
    assert says in text


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    Path("agentfs.toml").write_bytes(b"\xff\xfe")
    assert refused() == f"{tmp_path}/agentfs.toml: is not text in UTF-8"


@pytest.mark.parametrize("written", ["'022'", "0o22", "'0o22'", "22"])
def test_a_mask_in_the_file_means_what_it_looks_like(written: str) -> None:
    assert made(toml=f"umask = {written}").umask == 0o022


def test_lists_and_booleans_of_toml_are_understood() -> None:
    config = made(toml="fuse_options = ['noexec', 'sync']\nread_only = true\nallow_other = false\n")
    assert config.fuse_options == ("noexec", "sync")
    assert (config.read_only, config.allow_other) == (True, False)


def test_a_misspelled_variable_is_named_with_the_nearest() -> None:
    assert refused(environ={"AGENTFS_RAMLIMIT": "1G"}) == (
        "AGENTFS_RAMLIMIT is not a setting; did you mean AGENTFS_RAM_LIMIT?"
    )


def test_a_bad_value_of_a_variable_is_named() -> None:
    assert refused(environ={"AGENTFS_UPLOADS": "0"}) == (
        "AGENTFS_UPLOADS: '0' is not allowed: use a whole number from 1 to 128"
    )


def test_variables_of_others_are_left_alone() -> None:
    theirs = ("AGENTFS_KEY", "AGENTFS_SESSION", "AGENTFS_SANDBOX", "AGENTFS_TEST_PLAIN", "AGENTFSX", "PATH")
    assert made(environ=dict.fromkeys(theirs, "x")) == made()


def test_an_empty_variable_is_as_good_as_unset() -> None:
    assert made(environ={"AGENTFS_UPLOADS": "", "AGENTFS_STORE": "", "REDIS_URL": ""}) == made()


def test_the_names_of_the_redis_variable() -> None:
    assert made(environ={"REDIS_URL": "redis://a"}).redis == "redis://a"
    both = {"REDIS_URL": "redis://a", "AGENTFS_REDIS_URL": "redis://b"}
    assert made(environ=both).redis == "redis://b"
    assert made(environ=both, redis="rediss://c").redis == "rediss://c"
    assert "redis://host" in refused(environ={"REDIS_URL": "http://a"})


def test_a_password_is_welcome_in_the_environment_and_refused_on_the_command_line() -> None:
    secret = "redis://:hunter2@host:6379/0"
    config = made(environ={"AGENTFS_REDIS_URL": secret})
    assert config.redis == secret
    assert "hunter2" not in repr(config)
    with pytest.raises(FlagError, match="AGENTFS_REDIS_URL") as refusal:
        made(redis=secret)
    assert "hunter2" not in str(refusal.value)


def test_an_error_never_repeats_a_password() -> None:
    assert "hunter2" not in refused(environ={"AGENTFS_REDIS_URL": "http://u:hunter2@host"})
    assert "hunter2" not in refused(environ={"AGENTFS_STORE": "s3://u:hunter2@bucket"})


def test_flags_that_are_wrong_are_flag_errors() -> None:
    with pytest.raises(FlagError, match="--ram-limit: 'lots' is not allowed"):
        made(ram_limit="lots")
    with pytest.raises(FlagError, match=r"--user: '\.\./x' is not allowed"):
        made(user="../x")


def test_settings_must_fit_each_other() -> None:
    assert "at least two parts of 64M" in refused(ram_limit="100M", environ={"AGENTFS_PART_SIZE": "64M"})


def test_paths_are_absolute_from_then_on(tmp_path: Path) -> None:
    assert made(log_file="logs/a.log").log_file == tmp_path / "logs" / "a.log"
