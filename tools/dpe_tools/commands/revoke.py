"""`dpe revoke`: devices that must not register any more."""

from contextlib import closing

import click

from dpe_server.keys.ring import LAST_GENERATION
from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import measures
from dpe_tools import imeis, terminal
from dpe_tools.progress import Working


@click.command()
@click.argument("state")
@imeis.sources
@click.option(
    "--below-epoch",
    type=click.IntRange(1, LAST_GENERATION),
    metavar="N",
    help="Refuse only credentials of an epoch below N. The device is told that it needs a new one.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@terminal.json_option
def revoke(state: str, given: imeis.Source, below_epoch: int | None, dry_run: bool, as_json: bool) -> None:
    """Refuse these devices from now on and end their sessions. A running server obeys at once.

    If any row of a list is at fault, nothing is done at all. dpe unrevoke takes it back.
    """
    opened = StateDir.open(state)
    devices = [opened.at_rest.device_id(imei) for imei in imeis.all_or_nothing(given)]
    with closing(opened.open_store()) as store:
        told = measures.revoke(opened, store, devices, below_epoch, dry_run=dry_run, working=Working)
    if below_epoch is None:
        ended = told["sessions_ended"]
        did = "would be revoked" if dry_run else "revoked"
        line = f"{did}: {imeis.count(devices)}, {ended} session{'' if ended == 1 else 's'} ended"
    else:
        are = "would be" if dry_run else "are"
        line = f"{imeis.count(devices)}: credentials below epoch {below_epoch} {are} refused"
    terminal.tell(told, line, as_json=as_json)
    if unseen := told["never_seen"]:
        have = "device has" if unseen == 1 else "devices have"
        click.echo(f"note: {unseen} {have} never been seen by this server, or not since a session ended", err=True)
    if dry_run:
        click.echo("nothing was changed", err=True)
