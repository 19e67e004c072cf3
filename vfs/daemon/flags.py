"""How the commands' options are parsed and completed: for click, what `vfs.daemon.settings` is for the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from vfs.daemon import values
from vfs.daemon.settings import SETTINGS, show_default

F = TypeVar("F", bound=Callable[..., Any])


def as_seconds(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """30, 500ms, 5m"""
    try:
        return None if text is None else values.duration(0)(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not allowed: {error}") from error


def directories(_context: click.Context, _argument: click.Parameter, begun: str) -> list[CompletionItem]:
    """For the shell to complete. click.Path does that as well, and a stat of it, which hangs on a stuck mount."""
    return [CompletionItem(begun, type="dir")]


def setting_options(command: F) -> F:
    """A click option for every setting that has a flag. All are text: the table parses them."""
    for setting in reversed(SETTINGS):
        if setting.on_command_line:
            default = show_default(setting)
            text = setting.help + (f" Default: {default}." if default and not setting.is_switch else "")
            if setting.is_switch:
                option = click.option(setting.flag, setting.name, is_flag=True, default=None, help=text)
            else:
                option = click.option(setting.flag, setting.name, metavar=setting.metavar, help=text)
            command = option(command)
    return command
