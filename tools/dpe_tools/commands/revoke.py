"""`dpe revoke`: devices that must not register any more."""

import time
from contextlib import closing

import click

from dpe_server.keys.ring import LAST_GENERATION
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import OPERATOR_PATIENCE, Outcome, RestrictEpoch, Revoke
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
def revoke(state: str, imei: tuple[str, ...], csv: str | None, stdin: bool, below_epoch: int | None) -> None:
    """Refuse these devices from now on and end their sessions. A running server obeys at once."""
    opened = StateDir.open(state)
    at_rest = opened.at_rest
    good = imeis.Good(imeis.rows(imei, csv, stdin))
    now = int(time.time())
    devices = [at_rest.device_id(one) for _, one in good]
    with closing(open_store(opened.store_url)) as store:
        ended = 0
        for start in range(0, len(devices), AT_ONCE):
            changes = [
                Revoke(device, now) if below_epoch is None else RestrictEpoch(device, below_epoch)
                for device in devices[start : start + AT_ONCE]
            ]
            ended += store.commit(changes, patience=OPERATOR_PATIENCE).count(Outcome.SESSION_ENDED)
    if good.good and below_epoch is None:
        click.echo(f"revoked: {_count(good.good, 'device')}, {_count(ended, 'session')} ended")
    elif good.good:
        click.echo(f"{_count(good.good, 'device')}: credentials below epoch {below_epoch} are refused")
    good.finish()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
