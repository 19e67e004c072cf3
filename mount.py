"""The `agentfs` command, and the composition root: settings become a Config, a Config becomes a mount.

What a command does lies in `vfs.daemon`; here it is parsed, called, and its outcome said in one line and an exit
code: 0 done, 1 failed, 2 not understood. The modules that a command needs are imported when it runs, so that
`status` and completion do not wait for an event loop and a FUSE library to load.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import get_completion_class

from vfs.config import Config
from vfs.daemon.flags import as_seconds, directories, setting_options
from vfs.daemon.mount_options import is_helper_call, parse_helper_call, parse_options
from vfs.daemon.readiness import Readiness
from vfs.daemon.settings import FlagError, resolve
from vfs.errors import ConfigError, VfsError

NAME = "agentfs"
SHELLS = ("bash", "zsh", "fish")

_USAGE = 2
_INTERRUPTED = 130


def version() -> str:
    try:
        return metadata.version("agentfs-mount")
    except metadata.PackageNotFoundError:
        return "0+checkout"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version(), prog_name=NAME, message="%(prog)s %(version)s")
def cli() -> None:
    """One user's objects as a directory: every byte goes straight to object storage.

    \b
    Examples:
      agentfs mount /mnt/agent --user u1        mount, in the background
      agentfs status                            what is mounted, and how it is
      agentfs umount /mnt/agent                 make everything durable, unmount
      agentfs doctor                            what is missing on this machine

    Settings come from flags, AGENTFS_* variables and agentfs.toml, in this order.
    """


@cli.command("mount")
@click.argument("mountpoint", shell_complete=directories)
@setting_options
@click.option("-f", "--foreground", is_flag=True, help="Stay in front; SIGINT and SIGTERM unmount cleanly.")
@click.option("-o", "options", metavar="OPT,OPT", multiple=True, help="Options as in /etc/fstab.")
@click.option("--config", "config_file", metavar="FILE", default="", help="Settings file to read.")
def mount_command(
    mountpoint: str, foreground: bool, options: Sequence[str], config_file: str, **flags: str | bool | None
) -> None:
    """Mount one user's files at MOUNTPOINT, an empty directory.

    Returns when the mount answers, and prints one line.

    \b
    Examples:
      agentfs mount /mnt/agent --user u1
      agentfs mount ~/u1 --user u1 --store file:///srv/objects --ram-limit 64M
      agentfs mount /mnt/agent --user u1 --allow-other --umask 077 -f
      agentfs mount /mnt/agent --user u1 -o ro,noexec
    """
    from_options, named = parse_options(",".join(options))
    given = {name: "yes" if value is True else str(value) for name, value in flags.items() if value}
    start(mountpoint, from_options | given, config_file or named, foreground=foreground)


@cli.command()
@click.argument("mountpoint", shell_complete=directories)
@click.option(
    "--timeout", callback=as_seconds, metavar="TIME", help="Longest wait for the store. Default: 5m."
)
@click.option("--force", is_flag=True, help="Also a dead, busy or stuck one; gives up what cannot be stored.")
def umount(mountpoint: str, timeout: float | None, force: bool) -> None:
    """Make everything durable, then unmount.

    Refuses, and says who, when programs use the mount.

    \b
    Examples:
      agentfs umount /mnt/agent
      agentfs umount /mnt/agent --timeout 30s
      agentfs umount --force /mnt/agent         its daemon was killed
    """
    from vfs.daemon.mountpoint import locate
    from vfs.daemon.progress import ProgressDisplay
    from vfs.daemon.unmounting import FORCE_SECONDS, Busy, Unmounting

    point = locate(mountpoint)
    os.chdir("/")  # or this process itself might keep the mount busy
    with ProgressDisplay() as display:
        seconds = timeout if timeout is not None else (FORCE_SECONDS if force else 300.0)
        unmounting = Unmounting(point, seconds, display)
        try:
            lost = ""
            if force:
                lost = unmounting.force()
            else:
                unmounting.run()
        except Busy as busy:
            complain(str(busy))
            for who in busy.who:
                click.echo(f"  {who}", err=True)
            raise click.exceptions.Exit(1) from busy
    if lost:
        complain(lost)


@cli.command()
@click.argument("mountpoint", shell_complete=directories, required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs; more fields than the display.")
def status(mountpoint: str | None, as_json: bool) -> None:
    """Show one mount, or all of yours.

    Ends with 0 when all that is shown is well.

    \b
    Examples:
      agentfs status
      agentfs status /mnt/agent --json
    """
    from vfs.daemon.mountpoint import locate
    from vfs.daemon.status import WELL, one_line, status_of, status_of_all, table

    reports = [status_of(locate(mountpoint))] if mountpoint else status_of_all()
    if as_json:
        click.echo(json.dumps(reports[0] if mountpoint else reports, indent=2))
    elif not reports:
        click.echo("nothing is mounted")
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(table(reports))
    else:
        for report in reports:
            click.echo(one_line(report))
    if not all(report.get("state") in WELL for report in reports):
        raise click.exceptions.Exit(1)


@cli.command()
@click.option("--store", metavar="URL", help="The store to check instead of the one that is set.")
@click.option("--config", "config_file", metavar="FILE", default="", help="Settings file to read.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(store: str | None, config_file: str, as_json: bool) -> None:
    """Check this machine and the store; print the fix for each failure.

    \b
    Examples:
      agentfs doctor
      agentfs doctor --store file:///srv/objects
    """
    from vfs.daemon.doctor import examine, render

    config = resolve(Path("/"), {"store": store} if store else {}, config_file=config_file, need_user=False)
    checks = examine(config)
    click.echo(
        json.dumps([dataclasses.asdict(check) for check in checks], indent=2) if as_json else render(checks)
    )
    if any(check.failed for check in checks):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
def refresh(paths: Sequence[str]) -> None:
    """Ask the store again: another program changed objects behind the mount's back.

    \b
    Examples:
      agentfs refresh /mnt/agent/workspace/report.html
      agentfs refresh /mnt/agent
    """
    from vfs.daemon.refreshing import refresh as refresh_one

    for path in paths:
        refresh_one(path)


@cli.command()
@click.option("--user", metavar="ID", help="Whose; the one that is set if none is named.")
@click.option("--store", metavar="URL", help="The store, instead of the one that is set.")
@click.option("--config", "config_file", metavar="FILE", default="", help="Settings file to read.")
@click.option("--older-than", callback=as_seconds, default="1d", metavar="TIME", help="Default: 1d.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
def gc(user: str | None, store: str | None, config_file: str, older_than: float, dry_run: bool) -> None:
    """Remove what mounts that were killed left in the store.

    Unfinished uploads, nameless files, one side of an exchange (which gets a name again), notes of unfinished
    renames, probe objects: each mount removes those of over a week by itself. What a program may still use is
    younger than TIME.

    \b
    Examples:
      agentfs gc --user u1 --dry-run
      agentfs gc --user u1 --store s3://bucket/prefix --older-than 6h
    """
    from vfs.daemon.collecting import collect
    from vfs.daemon.values import show_duration

    flags = {name: value for name, value in (("user", user), ("store", store)) if value}
    config = resolve(Path("/"), flags, config_file=config_file)
    verb = "would remove" if dry_run else "removed"
    report = collect(
        config,
        older_than,
        dry_run=dry_run,
        tell=lambda item: click.echo(f"{item.kind} {item.key} ({show_duration(item.age)} old)"),
    )
    for item, reason in report.failed:
        complain(f"{item.kind} {item.key}: {reason}")
    click.echo(f"{verb} {len(report.found) - len(report.failed)} of user {config.user}")
    if report.failed:
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print the completion script of a shell; yours if none is named.

    \b
    Examples:
      agentfs completion bash > ~/.local/share/bash-completion/completions/agentfs
      agentfs completion zsh > ~/.zfunc/_agentfs
      agentfs completion fish > ~/.config/fish/completions/agentfs.fish
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    found = get_completion_class(name) if name in SHELLS else None
    if found is None:
        raise click.UsageError(f"which shell? One of {', '.join(SHELLS)}")
    click.echo(found(cli, {}, NAME, "_AGENTFS_COMPLETE").source())


def start(mountpoint: str, flags: Mapping[str, str], config_file: str, *, foreground: bool) -> None:
    """Mounts: here, or by a daemon in the background that this waits for. Raises VfsError."""
    from vfs.daemon.background import Background, default_log_file, same_command
    from vfs.daemon.mountpoint import absolute, check_host, check_mountpoint, locate
    from vfs.daemon.status import describe
    from vfs.store.opening import describe as describe_store

    if READINESS.in_background:
        serve(_background_config(absolute(mountpoint), flags, config_file))
        return
    point = locate(mountpoint)
    config = resolve(point, flags, config_file=config_file)
    check_mountpoint(point, describe=describe)
    check_host(allow_other=config.allow_other)
    if foreground:
        serve(config)
        return
    log_file = config.log_file or default_log_file(config.user, point)
    pid = Background(same_command(), point, log_file).start()
    click.echo(f"{NAME}: {point} user={config.user} store={describe_store(config.store)} pid={pid}")


def _background_config(point: Path, flags: Mapping[str, str], config_file: str) -> Config:
    from vfs.daemon.background import default_log_file

    config = resolve(point, flags, config_file=config_file)
    return dataclasses.replace(config, log_file=config.log_file or default_log_file(config.user, point))


def serve(config: Config) -> None:
    """The daemon, from here to its end. Raises VfsError when it could not mount, or not store everything."""
    import trio

    from vfs.core.filesystem import FileSystem
    from vfs.daemon.allocator import keep_small
    from vfs.daemon.service import Engine, Service
    from vfs.fuse import session
    from vfs.meta.opening import open_shared
    from vfs.obs import logs
    from vfs.store.opening import describe, open_store, prepare

    try:
        logs.configure(config.log_level, config.log_file, adopt=READINESS.in_background)
    except OSError as error:
        raise ConfigError(
            f"log file {config.log_file}: {error.strerror}: choose another with --log-file"
        ) from error
    os.chdir("/")  # no file system is kept busy by where this was started
    keep_small()

    async def life() -> None:
        store, shared = open_store(config.store, config), open_shared(config)
        try:
            await prepare(store, config)
            fs = FileSystem(store, config, shared)

            async def serve_kernel(ready: Callable[[], None]) -> None:
                fs.tidy()
                await session.serve(fs, config, on_ready=ready)

            engine = Engine(
                fs,
                serve=serve_kernel,
                stop=session.stop_serving,
                requests=session.request_statistics,
            )
            await Service(config, engine, READINESS, describe(config.store), version()).run()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(config.store_timeout):
                await store.aclose()
                if shared is not None:
                    await shared.aclose()

    trio.run(life)


READINESS = Readiness.inherited(os.environ)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script `agentfs`, which is also what mount.fuse3 calls for `mount -t fuse.agentfs`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if is_helper_call(words, cli.commands):
        fstab_main(words)
    sys.exit(outcome(lambda: cli.main(words, prog_name=NAME, standalone_mode=False)))


def fstab_main(argv: Sequence[str] | None = None) -> NoReturn:
    """mount.fuse.agentfs SOURCE MOUNTPOINT [-sfnv] -o OPTIONS, as mount(8) calls it."""
    words = list(sys.argv[1:] if argv is None else argv)

    def run() -> None:
        call = parse_helper_call(words)
        if not call.fake:
            start(call.mountpoint, call.settings, call.config_file, foreground=False)

    sys.exit(outcome(run))


def outcome(run: Callable[[], Any]) -> int:
    """The exit code; every failure that is foreseen becomes one line on stderr."""
    try:
        code = run()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return _USAGE
    except click.UsageError as error:
        where = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
        return failed(error.format_message().rstrip(".") + where, _USAGE)
    except click.ClickException as error:
        return failed(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return failed("interrupted", _INTERRUPTED)
    except FlagError as error:
        return failed(str(error), _USAGE)
    except VfsError as error:
        return failed(str(error), 1)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return failed(f"{what}{error.strerror or error}", 1)
    return code if isinstance(code, int) else 0


def failed(reason: str, code: int) -> int:
    READINESS.failed(reason)
    if READINESS.in_background:
        import structlog

        structlog.get_logger().error("ended", reason=reason)
    else:
        complain(reason)
    return code


def complain(text: str) -> None:
    """One line on stderr, whatever is in it, and no secret."""
    from vfs.obs.logs import redact

    click.echo(f"{NAME}: {redact(' '.join(text.split()))}", err=True)


if __name__ == "__main__":
    main()
