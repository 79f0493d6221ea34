"""`dpe sessions`: the live DPE sessions of a server."""

import json
import time
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import click

from dpe_coap.client_ids import client_id_text
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.opening import open_store
from dpe_tools import diagnostic, terminal

SUITES = {1: "plain", 2: "X25519"}


@click.command()
@click.argument("state")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def sessions(state: str, as_json: bool) -> None:
    """List the live sessions of STATE by Client ID.

    No IMEI is shown; see `dpe device show`.
    """
    opened = StateDir.open(state)
    now = int(time.time())
    with closing(open_store(opened.store_url)) as store:
        if as_json:
            print_array(describe(session, now) for session in store.live(now))
        else:
            print_table(store.live(now), now)


def describe(session: Session, now: int) -> dict[str, Any]:
    """Return what may be shown of a session, without anything that identifies the device. Times are in seconds."""
    return {
        "client_id": client_id_text(session.client_id),
        "version": str(session.version),
        "state": "ESTABLISHED",
        "suite": session.suite,
        "firmware": session.firmware,
        "rule": session.rule,
        "established_at": session.established_at,
        "expires_at": session.expires_at,
        "age": now - session.established_at,
    }


def print_array(items: Iterable[dict[str, Any]]) -> None:
    """Print a JSON array with one item per line, as the items come."""
    lead = "["
    for item in items:
        click.echo(f"{lead}{json.dumps(item)}", nl=False)
        lead = ",\n "
    click.echo("]" if lead != "[" else "[]")


def print_table(found: Iterable[Session], now: int) -> None:
    """Print a table for a person."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Client ID", "version", "state", "suite", "age", "ends in", "rule", "firmware"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("age", "ends in") else "left")
    for session in found:
        ends = "never" if session.expires_at is None else span(session.expires_at - now)
        table.add_row(
            Text(client_id_text(session.client_id), style="cyan"),
            str(session.version),
            Text("ESTABLISHED", style="green"),
            SUITES[session.suite],
            span(now - session.established_at),
            ends,
            Text(session.rule),
            "" if session.firmware is None else Text(diagnostic.text(session.firmware)),
        )
    if table.row_count:
        terminal.console().print(table, soft_wrap=False)
    else:
        click.echo("no live session")


def span(seconds: int) -> str:
    """Return a duration for a person, as in ``5 min``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
