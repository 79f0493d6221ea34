"""`dpe revoke`: devices that must not register any more."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import click

from dpe_server.keys.ring import LAST_GENERATION
from dpe_server.operation.journal import enact
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Measure, Outcome, Questions, RestrictEpoch, Revoke, Store
from dpe_server.store.opening import open_store
from dpe_tools import imeis

AT_ONCE = 10_000
"""Devices in one commit, for some 0.2 s: registrations go on between two of them."""


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
def revoke(state: str, given: imeis.Source, below_epoch: int | None, dry_run: bool) -> None:
    """Refuse these devices from now on and end their sessions. A running server obeys at once.

    If any row of a list is at fault, nothing is done at all.
    """
    opened = StateDir.open(state)
    devices = [opened.at_rest.device_id(imei) for imei in imeis.all_or_nothing(given)]
    with closing(open_store(opened.store_url)) as store:
        unseen, sessions = look(store, devices)
        if not dry_run:
            sessions = 0
            now = int(time.time())
            for part in parts(devices):
                changes: list[Measure] = [
                    Revoke(device, now) if below_epoch is None else RestrictEpoch(device, below_epoch)
                    for device in part
                ]
                sessions += enact(opened.journal_path, store, changes).count(Outcome.SESSION_ENDED)
    done = "would be revoked" if dry_run else "revoked"
    if below_epoch is None:
        click.echo(f"{done}: {imeis.count(devices)}, {sessions} session{'' if sessions == 1 else 's'} ended")
    else:
        are = "would be" if dry_run else "are"
        click.echo(f"{imeis.count(devices)}: credentials below epoch {below_epoch} {are} refused")
    if unseen:
        have = "device has" if unseen == 1 else "devices have"
        click.echo(f"note: {unseen} {have} never been seen by this server: not registered, not revoked", err=True)
    if dry_run:
        click.echo("nothing was changed", err=True)


def look(store: Store, devices: Sequence[bytes]) -> tuple[int, int]:
    """Return how many of the devices the store has never seen, and how many have a session."""
    unseen = sessions = 0
    for part in parts(devices):
        facts = store.look(Questions(restrictions=set(part), client_ids_of=set(part)))
        sessions += len(facts.client_ids_of)
        unseen += len(set(part) - facts.client_ids_of.keys() - facts.restrictions.keys())
    return unseen, sessions


def parts(devices: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield the devices, AT_ONCE at a time."""
    for start in range(0, len(devices), AT_ONCE):
        yield devices[start : start + AT_ONCE]
