"""`dpe unrevoke`: devices that may register again."""

from contextlib import closing

import click

from dpe_server.operation.state_dir import StateDir
from dpe_server.operators import measures
from dpe_tools import imeis, terminal
from dpe_tools.progress import Working
from dpe_tools.words import count


@click.command()
@click.argument("state")
@imeis.sources
@click.option(
    "--below-epoch", is_flag=True, help="Lift what revoke --below-epoch has imposed, and leave revocations alone."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@terminal.json_option
def unrevoke(state: str, given: imeis.Source, below_epoch: bool, dry_run: bool, as_json: bool) -> None:
    """Lift the revocation of these devices. They register again with the credentials that they have.

    Ended sessions do not come back. If any row of a list is at fault, nothing is done at all.
    """
    opened = StateDir.open(state)
    devices = [opened.at_rest.device_id(imei) for imei in imeis.all_or_nothing(given)]
    with closing(opened.open_store()) as store:
        told = measures.lift(opened, store, devices, below_epoch=below_epoch, dry_run=dry_run, working=Working)
    what, none = ("minimum epoch", "has no minimum epoch") if below_epoch else ("revocation", "is not revoked")
    others = len(devices) - told["lifted"]
    lifted = count(told["lifted"], "device")
    terminal.tell(told, f"{what} {'would be ' if dry_run else ''}lifted: {lifted}", as_json=as_json)
    if others:
        click.echo(f"note: {others} of {imeis.count(devices)}: the device {none}", err=True)
    if dry_run:
        click.echo("nothing was changed", err=True)
