"""`dpe sessions`: the live DPE sessions of a server, listed, counted or ended."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import click

from dpe_coap.messages import Version
from dpe_server.keys.ring import LAST_GENERATION
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import imposing, measures, times
from dpe_server.operators.sessions import describe_all
from dpe_server.store.contract import Store
from dpe_server.store.listing import ALL, Wanted
from dpe_tools import properties, session_list, terminal
from dpe_tools.commands.device import holder
from dpe_tools.commands.message import parse_version
from dpe_tools.progress import Working

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

NO_EPOCH = "unknown"


class Sessions(click.Group):
    """A group whose usual command, `list`, need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments for those of `list` unless they begin with a command."""
        if args and args[0] not in self.commands and args[0] not in self.get_help_option_names(ctx):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Return what a shell may offer: the commands, and folders for the usual one."""
        from click.shell_completion import CompletionItem

        # bash forgets what came before a folder
        return [CompletionItem(incomplete, type="dir"), *super().shell_complete(ctx, incomplete)]


@click.group(cls=Sessions, subcommand_metavar="STATE | COMMAND [ARGS]...")
def sessions() -> None:
    """List the live sessions of STATE, or end some of them.

    `dpe sessions STATE` is short for `dpe sessions list STATE`.
    """


def parse_span(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Read a duration such as 90, 15min, 36h or 7d, in seconds. Raises BadParameter."""
    if value is None:
        return None
    try:
        return times.parse_span(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_epoch(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    """Read a key epoch, or the word for one that is not known. Raises BadParameter."""
    if value is None or value == NO_EPOCH:
        return value
    if not value.isdecimal() or not 1 <= int(value) <= LAST_GENERATION:
        raise click.BadParameter(f"a key epoch is 1 to {LAST_GENERATION}, or {NO_EPOCH}")
    return int(value)


def _version(context: click.Context, parameter: click.Parameter, value: str | None) -> Version | None:
    return None if value is None else parse_version(context, parameter, value)


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which sessions are wanted. A session must fit all that are given."""
    for option in (
        click.option(
            "--silent-for",
            callback=parse_span,
            metavar="TIME",
            help="Only sessions whose device was last heard longer ago than this, such as 90s, 15min, 36h or 7d.",
        ),
        click.option(
            "--below-epoch",
            type=click.IntRange(1, LAST_GENERATION),
            metavar="N",
            help="Only sessions that began with a credential of an epoch below N.",
        ),
        click.option(
            "--epoch",
            callback=parse_epoch,
            metavar="N",
            help="Only sessions that began with a credential of epoch N. `unknown`: an earlier version began them.",
        ),
        click.option("--firmware", metavar="TEXT", help="Only sessions that began with this firmware."),
        click.option("--version", callback=_version, metavar="V", help="Only sessions of this DPE version."),
        click.option("--rule", metavar="NAME", help="Only sessions that this rule of the policy has accepted."),
    ):
        command = option(command)
    return command


def wanted_of(
    now: int,
    rule: str | None,
    version: Version | None,
    firmware: str | None,
    epoch: int | str | None,
    below_epoch: int | None,
    silent_for: int | None,
) -> Wanted:
    """Return which sessions the options ask for."""
    return Wanted(
        rule=rule,
        version=version,
        firmware=firmware,
        epoch=epoch if isinstance(epoch, int) else None,
        below_epoch=below_epoch,
        unknown_epoch=epoch == NO_EPOCH,
        heard_before=None if silent_for is None else now - silent_for,
    )


@sessions.command("list")
@click.argument("state")
@filters
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Show the first N sessions only.")
@click.option("--count", is_flag=True, help="Only say how many there are.")
@click.option("--properties", "with_properties", is_flag=True, help="Also show what each device has reported.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; with --count, an object.")
def list_(
    state: str, limit: int | None, count: bool, with_properties: bool, as_json: bool, **filters: int | str | None
) -> None:
    """List the live sessions of STATE by Client ID.

    No IMEI is shown; see `dpe device show`. `seen` is when the device was last heard, `reported` how many properties it
    has reported. A session that began later than it is now has the age `?` (null in JSON): the clock was ahead then, or
    it is behind now.
    """
    opened = StateDir.open(state)
    now = int(time.time())
    wanted = wanted_of(now, **filters)  # type: ignore[arg-type]  # each callback has made what it takes
    with closing(opened.open_store()) as store:
        if count:
            with Working("counting sessions"):
                found = store.count(wanted, now)
            found = found if limit is None else min(found, limit)
            if as_json:
                terminal.print_json({"count": found})
            else:
                click.echo(found)
            return
        vocabulary = properties.vocabulary_of(opened) if with_properties else None
        listed = islice(store.listed(wanted, now), limit)
        if as_json:
            session_list.print_array(describe_all(listed, now, vocabulary))
        else:
            session_list.print_table(listed, now, vocabulary)


@sessions.command()
@click.argument("state")
@click.argument("client_ids", metavar="[CLIENT_ID]...", nargs=-1)
@filters
@click.option("--dry-run", is_flag=True, help="Say how many would be ended, and do nothing.")
@terminal.json_option
def end(state: str, client_ids: tuple[str, ...], dry_run: bool, as_json: bool, **filters: int | str | None) -> None:
    """End sessions of STATE: those with a CLIENT_ID (14 hex digits), or those that fit all options.

    Each device is answered 4.01 from now on, and registers anew by itself. To keep it from that, use dpe revoke. A
    running server obeys at once. If a CLIENT_ID has no session, nothing is done at all.
    """
    opened = StateDir.open(state)
    now = int(time.time())
    wanted = wanted_of(now, **filters)  # type: ignore[arg-type]  # each callback has made what it takes
    if bool(client_ids) == (wanted != ALL):
        raise click.UsageError("give Client IDs, or options that say which sessions to end")
    with closing(opened.open_store()) as store:
        if client_ids:
            devices = list(dict.fromkeys(holder(store, client_id, state).device for client_id in client_ids))
            ended = len(devices) if dry_run else measures.end(opened, store, devices, working=Working)
        elif dry_run:
            with Working("counting sessions"):
                ended = store.count(wanted, now)
        else:
            ended = 0
            with Working("ending sessions") as working:
                for devices in _parts(store, wanted, now):
                    ended += measures.end(opened, store, devices)
                    working.add(len(devices))
    would_be = "would be ended" if dry_run else "ended"
    line = f"{ended} session{'' if ended == 1 else 's'} {would_be}"
    terminal.tell({"sessions_ended": ended, "dry_run": dry_run}, line, as_json=as_json)
    if dry_run:
        click.echo("nothing was changed", err=True)


def _parts(store: Store, wanted: Wanted, now: int) -> Iterator[list[bytes]]:
    """Yield the devices of wanted sessions, as many as are ended in one commit.

    A device that registers anew meanwhile may lose its new session. So it is found a moment before it is ended.
    """
    found = store.listed(wanted, now)
    while devices := [session.device for session in islice(found, imposing.AT_ONCE)]:
        yield devices
