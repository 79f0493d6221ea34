"""`dpe backup`: a copy of a server's database that says that it is one."""

from pathlib import Path

import click

from dpe_server.operation import recovery
from dpe_server.operation.state_dir import StateDir
from dpe_tools import terminal
from dpe_tools.progress import Working


@click.command()
@click.argument("state")
@click.argument("file")
@terminal.json_option
def backup(state: str, file: str, as_json: bool) -> None:
    """Copy the database of STATE, which may be in use, to the new file FILE.

    No server starts from the copy; `dpe restore` puts it back. The database has no key that opens what is sealed in it:
    keep copies of keys.json, config.toml, policy.toml and operators.jsonl as well, and keys.json in another place.
    """
    with Working("copying the database"):
        recovery.back_up(StateDir.open(state), Path(file))
    size = Path(file).stat().st_size
    terminal.tell(
        {"file": file, "bytes": size},
        f"{file}: a sound copy of the database, {size / 1e6:.1f} MB; put it back with: dpe restore {state} {file}",
        as_json=as_json,
    )
