"""`dpe sessions`: the live DPE sessions of a server."""

import json
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import click
from rich.cells import cell_len

from dpe_coap.client_ids import client_id_text
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Session
from dpe_server.store.opening import open_store
from dpe_tools import diagnostic, streams, terminal

SUITES = {1: "plain", 2: "X25519"}
COLUMNS = {
    "Client ID": False,
    "version": False,
    "state": False,
    "suite": False,
    "age": True,
    "seen": True,
    "ends in": True,
    "rule": False,
    "firmware": False,
}
"""The table's columns, and whether they are set to the right."""
AGE = list(COLUMNS).index("age")
UNKNOWN = "?"
"""The age of a session that began later than it is now."""
LOOK_AHEAD = 100


@click.command()
@click.argument("state")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def sessions(state: str, as_json: bool) -> None:
    """List the live sessions of STATE by Client ID.

    No IMEI is shown; see `dpe device show`. `seen` is when the device was last heard. A session that began later than
    it is now has the age `?` (null in JSON): the clock was ahead then, or it is behind now.
    """
    opened = StateDir.open(state)
    now = int(time.time())
    with closing(open_store(opened.store_url)) as store:
        if as_json:
            print_array(describe(session, now) for session in store.live(now))
        else:
            print_table(store.live(now), now)


def describe(session: Session, now: int) -> dict[str, Any]:
    """Return what may be shown of a session, without anything that identifies the device. Times are in seconds.

    The age is None for a session that began later than it is now: the clock has been set back.
    """
    age = now - session.established_at
    return {
        "client_id": client_id_text(session.client_id),
        "version": str(session.version),
        "state": "ESTABLISHED",
        "suite": session.suite,
        "firmware": session.firmware,
        "rule": session.rule,
        "established_at": session.established_at,
        "expires_at": session.expires_at,
        "seen_at": session.seen_at,
        "age": age if age >= 0 else None,
    }


def print_array(items: Iterable[dict[str, Any]]) -> None:
    """Print a JSON array with one item per line, as the items come, while somebody reads."""
    lead = "["
    for item in items:
        click.echo(f"{lead}{json.dumps(item)}", nl=False)
        lead = ",\n "
        if not streams.is_read():
            return
    click.echo("]" if lead != "[" else "[]")


def print_table(found: Iterable[Session], now: int) -> None:
    """Print a table for a person, as the sessions come, while somebody reads.

    The first ``LOOK_AHEAD`` sessions decide how wide the columns are. A line that is longer than a terminal is wide is
    not cut: a Client ID is there to be copied.
    """
    rows = (_row(session, now) for session in found)
    first = list(islice(rows, LOOK_AHEAD))
    if not first:
        click.echo("no live session")
        return
    lines = [tuple(COLUMNS), *first]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    colour = terminal.has_colour()
    head = _line(lines[0], widths)
    click.echo(click.style(head, bold=True) if colour else head, color=colour)
    ahead = 0
    for row in chain(first, rows):
        ahead += row[AGE] == UNKNOWN
        line = _line(row, widths)
        click.echo(click.style(row[0], fg="cyan") + line[len(row[0]) :] if colour else line, color=colour)
        if not streams.is_read():
            return
    if ahead:
        why = "the clock was ahead then, or it is behind now"
        click.echo(f"{ahead} of these began later than it is now, {moment(now)}: {why}", err=True)


def _row(session: Session, now: int) -> tuple[str, ...]:
    age = now - session.established_at
    return (
        client_id_text(session.client_id),
        str(session.version),
        "ESTABLISHED",
        SUITES[session.suite],
        span(age) if age >= 0 else UNKNOWN,
        "never" if session.seen_at is None else ago(session.seen_at, now),
        "never" if session.expires_at is None else span(session.expires_at - now),
        session.rule,
        "" if session.firmware is None else diagnostic.text(session.firmware),
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = []
    for cell, width, to_the_right in zip(row, widths, COLUMNS.values(), strict=True):
        space = " " * (width - cell_len(cell))
        cells.append(space + cell if to_the_right else cell + space)
    return "  ".join(cells).rstrip()


def span(seconds: int) -> str:
    """Return a duration for a person, as in ``5 min``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def ago(seconds: int, now: int) -> str:
    """Return how long ago a time was; the time itself if it is still to come. Both are in seconds since 1970."""
    return f"{span(now - seconds)} ago" if seconds <= now else moment(seconds)


def moment(seconds: int) -> str:
    """Return a time for a person, in UTC. ``seconds`` are since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
