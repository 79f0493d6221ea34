"""`dpe restore`: a backup put back in the place of the database."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dpe_server.operation import recovery
from dpe_server.operation.acts import note
from dpe_server.operation.recovery import Recovered
from dpe_server.operation.state_dir import StateDir
from dpe_tools import terminal
from dpe_tools.progress import Working
from dpe_tools.words import count


def journal_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the operators' acts are."""
    command = click.option(
        "--new-journal",
        is_flag=True,
        help="The journal operators.jsonl is lost: begin a new one with what the database and the --journal files say.",
    )(command)
    return click.option(
        "--journal",
        "journals",
        multiple=True,
        metavar="FILE",
        help="Repeat also what operators did on another server of the same database. May be given several times.",
    )(command)


@click.command()
@click.argument("state")
@click.argument("file")
@journal_options
@terminal.json_option
def restore(state: str, file: str, journals: tuple[str, ...], new_journal: bool, as_json: bool) -> None:
    """Put the backup FILE in the place of the database of STATE. The server must be stopped.

    All sessions end: devices register again by themselves. What operators have imposed since the backup comes back from
    the journal operators.jsonl.
    """
    opened = StateDir.open(state, without_store=True)
    with Working("putting the backup back"):
        done = recovery.restore(opened, Path(file), journals=[Path(one) for one in journals], new_journal=new_journal)
    when = (
        "" if done.made_at is None else f", a backup of {datetime.fromtimestamp(done.made_at, UTC):%Y-%m-%d %H:%M:%SZ}"
    )
    tell(opened, state, "database-restored", done, f"restored: {file}{when}", as_json=as_json)


def tell(opened: StateDir, state: str, event: str, done: Recovered, first: str, *, as_json: bool) -> None:
    """Say what a recovery has done, and note it in the audit log. ``first`` is the first line for a person."""
    note(opened, event, sessions=done.sessions, revoked=done.revoked, lifted=done.lifted, epochs=done.epochs)
    counts = {"sessions": done.sessions, "revoked": done.revoked, "lifted": done.lifted, "epochs": done.epochs}
    terminal.tell(
        {"event": event, "backup_made_at": done.made_at, **counts},
        first,
        f"  {count(done.sessions, 'session')} ended: the devices register again",
        f"  {count(done.revoked, 'device')} revoked again, {count(done.lifted, 'revocation')} lifted again",
        f"  {count(done.epochs, 'minimum epoch')} set again",
        f"next: dpe serve {state}",
        as_json=as_json,
    )
