"""`dpe recover`: a database that was put back without `dpe restore`, made fit to serve."""

from pathlib import Path

import click

from dpe_server.operation import recovery
from dpe_server.operation.acts import note
from dpe_server.operation.state_dir import StateDir
from dpe_tools import terminal
from dpe_tools.commands.restore import journal_options, tell
from dpe_tools.progress import Working


@click.command()
@click.argument("state")
@journal_options
@click.option(
    "--keep-sessions",
    is_flag=True,
    help="Only where STATE is older than its database: nothing newer than the database exists, so nothing ends.",
)
@terminal.json_option
def recover(state: str, journals: tuple[str, ...], new_journal: bool, keep_sessions: bool, as_json: bool) -> None:
    """Make the database of STATE fit to serve after it was put back without `dpe restore`.

    Run it after any other restore: of the file, of the disk, of the whole machine, and after PostgreSQL's own. The
    server must be stopped. It does what `dpe restore` does after the file is in its place.

    If several servers share the database, all must be stopped. Run it at one of them, with the journals
    (operators.jsonl) of all others; these then start as they are. A server whose journal was missing does not start.
    """
    opened = StateDir.open(state)
    if keep_sessions:
        if journals or new_journal:
            raise click.UsageError("--keep-sessions goes alone")
        recovery.keep_sessions(opened)
        note(opened, "database-accepted")
        line = f"the database is taken for the newest there is; next: dpe serve {state}"
        terminal.tell({"event": "database-accepted"}, line, as_json=as_json)
        return
    with Working("ending all sessions"):
        done = recovery.recover(opened, journals=[Path(one) for one in journals], new_journal=new_journal)
    tell(opened, state, "database-recovered", done, "recovered:", as_json=as_json)
    if len(journals) < done.nodes - 1:
        click.echo(
            f"note: {done.nodes} servers share this database, and {len(journals)} --journal files were given; a server"
            " whose journal is missing and not empty will not start",
            err=True,
        )
