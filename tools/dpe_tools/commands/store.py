"""`dpe store`: where a server's sessions are."""

import click

from dpe_server.operation import founding
from dpe_server.operation.acts import note
from dpe_server.operation.config import host_name
from dpe_server.operation.state_dir import StateDir
from dpe_tools import terminal
from dpe_tools.commands.init import checked_name, checked_url
from dpe_tools.progress import Working
from dpe_tools.words import count


@click.group()
def store() -> None:
    """Move the sessions of a server into a database that several servers can share."""


@store.command()
@click.argument("state")
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    callback=checked_url,
    help="An empty PostgreSQL database: postgresql://USER@HOST,HOST/DATABASE, without a password.",
)
@click.option("--one-machine", is_flag=True, help="The database may be without a synchronous standby.")
@click.option(
    "--node",
    metavar="NAME",
    callback=checked_name,
    help="This server's name among those that will share it.  [default: the machine's name]",
)
@terminal.json_option
def copy(state: str, url: str, one_machine: bool, node: str | None, as_json: bool) -> None:
    """Copy the store of STATE into a database, and have STATE use it from then on.

    The server must be stopped. Devices notice nothing: their sessions go on, and so do programs that follow what they
    report. The SQLite file stays, as dpe.sqlite.copied, and nothing uses it any more.
    """
    opened = StateDir.open(state)
    with Working("copying the sessions"):
        copied = founding.copy(opened, url, node=node or host_name(), one_machine=one_machine)
    note(opened, "store-copied", sessions=copied.sessions)
    terminal.tell(
        copied._asdict(),
        "copied:",
        f"  {count(copied.sessions, 'session')}, {count(copied.traces, 'trace')} of ended ones",
        f"  {count(copied.restricted, 'device')} on which operators have imposed something",
        f"  {count(copied.changes, 'change')} for those who follow them",
        "config.toml names the database now; delete dpe.sqlite.copied when all is well",
        f"next: dpe serve {state}; on further machines: dpe init STATE --join FROM",
        as_json=as_json,
    )
