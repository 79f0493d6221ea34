"""Output to the screen. rich is imported on first use. It colours only a terminal, and honours NO_COLOR."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from dpe_tools.annotate import Row

if TYPE_CHECKING:
    from rich.console import Console


WIDE = 250
"""How many columns a table has when no terminal shows it."""


def console(*, stderr: bool = False) -> "Console":
    """Return a console that prints text as it is: no markup, no guessed highlights, no wrapping of long lines."""
    from rich.console import Console

    width = None if is_terminal(stderr=stderr) else WIDE
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False, soft_wrap=True)


def is_terminal(*, stderr: bool = False) -> bool:
    """Return whether the output goes to a terminal."""
    return (sys.stderr if stderr else sys.stdout).isatty()


def has_colour() -> bool:
    """Return whether standard output is to be coloured."""
    out = console()
    return out.color_system is not None and not out.no_color


def style_of(valid: bool | None) -> str:
    """Return the style in which it is told whether something is valid; None: that cannot be told."""
    return {True: "bold green", False: "bold red", None: "bold yellow"}[valid]


json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
"""For a command that tells what it has done."""


def tell(told: Mapping[str, Any], *lines: str, as_json: bool) -> None:
    """Print what a command has done: as a JSON object for a program, or in lines for a person."""
    if as_json:
        print_json(told)
        return
    for line in lines:
        click.echo(line)


def print_json(value: Any, *, line: bool = False) -> None:
    """Print a JSON value, indented, or on one line."""
    click.echo(json.dumps(value, indent=None if line else 2))


def print_rows(out: "Console", rows: Iterable[Row]) -> None:
    """Print an annotated dump in its four columns: offset, bytes, notation, name and meaning."""
    from rich.text import Text

    for row in rows:
        line = Text("  ")
        line.append(f"{row.offset:4d}  " if row.data else " " * 6, style="dim")
        line.append(f"{row.hex:<23}  ", style="cyan")
        line.append(f"{row.notation:<26}  ", style="green")
        line.append(f"{row.name}: " if row.name and row.meaning else row.name, style="bold")
        line.append(row.meaning)
        line.rstrip()
        out.print(line)
