"""What a benchmark is held to: each limit beside what was found, and the command fails where one does not hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dpe_bench.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

ECHO = 2.2
"""Microseconds that the C echo takes on the machine that limits in microseconds are for."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that is promised."""

    name: str
    found: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.found <= self.most


def scaled(name: str, found: float, most: float, *, echo: float) -> Limit:
    """Return the limit of a time on a machine whose C echo took ``echo`` microseconds in the same run."""
    if echo <= ECHO:
        return Limit(name, found, most)
    return Limit(f"{name}, scaled from an echo of {echo:.1f} µs to one of {ECHO} µs", found * ECHO / echo, most)


def limits_table(limits: Sequence[Limit], *, markdown: bool) -> "Table":
    """Return what is promised, what was found, and whether that holds."""
    made = new_table(markdown=markdown)
    made.add_column("promise")
    for heading in ("found", "at most", "holds"):
        made.add_column(heading, justify="right")
    for limit in limits:
        made.add_row(limit.name, f"{limit.found:.3g}", f"{limit.most:.3g}", "yes" if limit.holds else "no")
    return made


def complain(limits: Sequence[Limit]) -> int:
    """Say which limits do not hold; return the exit status."""
    broken = [limit for limit in limits if not limit.holds]
    for limit in broken:
        click.echo(f"dpe: error: {limit.name}: {limit.found:.3g}, more than {limit.most:.3g}", err=True)
    return 1 if broken else 0
