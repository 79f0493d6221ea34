"""`dpe revoke`: devices that must not register any more."""

import time
from contextlib import closing

import click

from dpe_server.keys.ring import LAST_GENERATION
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Outcome, RestrictEpoch, Revoke
from dpe_tools import imeis, terminal
from dpe_tools.imposing import impose, look


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
    now = int(time.time())
    with closing(opened.open_store()) as store:
        restrictions, registered = look(store, devices)
        unseen = len(set(devices) - restrictions.keys() - registered)
        ended = len(registered)
        if dry_run:
            pass
        elif below_epoch is None:
            outcomes = impose(opened, store, devices, lambda device: Revoke(device, now), "revoked", ends="revoked")
            ended = outcomes.count(Outcome.SESSION_ENDED)
        else:
            epoch = below_epoch
            impose(opened, store, devices, lambda device: RestrictEpoch(device, epoch), "revoked", below_epoch=epoch)
    told: dict[str, object] = {"devices": len(devices), "never_seen": unseen, "dry_run": dry_run}
    if below_epoch is None:
        told["sessions_ended"] = ended
        done = "would be revoked" if dry_run else "revoked"
        line = f"{done}: {imeis.count(devices)}, {ended} session{'' if ended == 1 else 's'} ended"
    else:
        told["below_epoch"] = below_epoch
        are = "would be" if dry_run else "are"
        line = f"{imeis.count(devices)}: credentials below epoch {below_epoch} {are} refused"
    terminal.tell(told, line, as_json=as_json)
    if unseen:
        have = "device has" if unseen == 1 else "devices have"
        click.echo(f"note: {unseen} {have} never been seen by this server, or not since a session ended", err=True)
    if dry_run:
        click.echo("nothing was changed", err=True)
