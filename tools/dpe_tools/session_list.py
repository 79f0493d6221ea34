"""Live sessions as `dpe sessions` shows them: a table for people, an array for programs; both come as they are read."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import click
from rich.cells import cell_len

from dpe_coap.client_ids import client_id_text
from dpe_server.operators.sessions import SUITES, Shown, in_words
from dpe_server.operators.times import ago, moment, span
from dpe_server.policy import Vocabulary
from dpe_server.store.record import count, entries
from dpe_tools import diagnostic, streams, terminal

COLUMNS = {
    "Client ID": False,
    "version": False,
    "state": False,
    "suite": False,
    "age": True,
    "seen": True,
    "ends in": True,
    "reported": True,
    "rule": False,
    "firmware": False,
}
"""The table's columns, and whether they are set to the right."""
PROPERTIES = "properties"
"""The column that follows if the values of the properties are shown."""
AGE = list(COLUMNS).index("age")
UNKNOWN = "?"
"""The age of a session that began later than it is now."""
LOOK_AHEAD = 100
"""How many sessions decide how wide the columns are."""
AT_ONCE = 100
"""Lines that are printed together: to write each by itself takes as long as all the rest."""


def print_array(items: Iterable[dict[str, Any]]) -> None:
    """Print a JSON array with one item per line, as the items come, while somebody reads."""

    def texts() -> Iterator[str]:
        lead = "["
        for item in items:
            yield lead + json.dumps(item)
            lead = ",\n "
        yield "]\n" if lead != "[" else "[]\n"

    _print(texts(), end="")


def print_table(found: Iterable[Shown], now: int, vocabulary: Vocabulary | None = None) -> None:
    """Print a table for a person, as the sessions come, while somebody reads; with a vocabulary, with their properties.

    The first ``LOOK_AHEAD`` sessions decide how wide the columns are. A line that is longer than a terminal is wide is
    not cut: a Client ID is there to be copied.
    """
    words = None if vocabulary is None else in_words(vocabulary)
    rows = (_row(session, now, words) for session in found)
    first = list(islice(rows, LOOK_AHEAD))
    if not first:
        click.echo("no live session")
        return
    columns = COLUMNS if vocabulary is None else COLUMNS | {PROPERTIES: False}
    head = tuple(columns)
    widths = [max(map(cell_len, column)) for column in zip(head, *first, strict=True)]
    form = "  ".join(
        f"{{:{'>' if right else '<'}{width}}}" for right, width in zip(columns.values(), widths, strict=True)
    )
    colour = terminal.has_colour()
    ahead = 0

    def lines() -> Iterator[str]:
        nonlocal ahead
        yield click.style(_line(head, widths), bold=True) if colour else _line(head, widths)
        for row in chain(first, rows):
            ahead += row[AGE] == UNKNOWN
            line = form.format(*row).rstrip() if "".join(row).isascii() else _line(row, widths)
            yield click.style(row[0], fg="cyan") + line[len(row[0]) :] if colour else line

    if _print(lines(), colour=colour) and ahead:
        why = "the clock was ahead then, or it is behind now"
        click.echo(f"{ahead} of these began later than it is now, {moment(now)}: {why}", err=True)


def _print(lines: Iterable[str], *, end: str = "\n", colour: bool = False) -> bool:
    """Print lines, AT_ONCE together, each followed by ``end``; False when nobody reads any more."""
    waiting: list[str] = []
    try:
        for line in lines:
            waiting.append(line + end)
            if len(waiting) == AT_ONCE:
                click.echo("".join(waiting), nl=False, color=colour)
                waiting.clear()
                if not streams.is_read():
                    return False
    finally:
        click.echo("".join(waiting), nl=False, color=colour)
    return streams.is_read()


def _row(session: Shown, now: int, words: Callable[[bytes, bytes], str] | None) -> tuple[str, ...]:
    age = now - session.established_at
    row = (
        client_id_text(session.client_id),
        str(session.version),
        "ESTABLISHED",
        SUITES[session.suite],
        span(age) if age >= 0 else UNKNOWN,
        "never" if session.seen_at is None else ago(session.seen_at, now),
        "never" if session.expires_at is None else span(session.expires_at - now),
        str(count(session.record)),
        session.rule,
        "" if session.firmware is None else diagnostic.text(session.firmware),
    )
    if words is None:
        return row
    return (*row, ", ".join(words(entry.property, entry.value) for entry in entries(session.record)))


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """Return a row's text. What is wider than its letters, as in Chinese, has less space around it."""
    sides = (*COLUMNS.values(), False)
    return "  ".join(
        cell.rjust(width - cell_len(cell) + len(cell)) if right else cell.ljust(width - cell_len(cell) + len(cell))
        for cell, width, right in zip(row, widths, sides, strict=False)
    ).rstrip()
