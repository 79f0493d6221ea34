"""What `dpe bench sessions` has found, as tables, beside the limits that are promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpe_bench import comparison
from dpe_bench.comparison import Columns, Words
from dpe_bench.contenders import AIOCOAP, ECHO, LIBCOAP, OURS
from dpe_bench.session_contenders import FEW, MANY, UNCOMMITTED
from dpe_bench.session_run import Sample

if TYPE_CHECKING:
    from rich.table import Table

WORDS = Words("sessions", "report", "reports went wrong")
OF_AIOCOAP = 1 / 8
OF_LIBCOAP = 1.2
LANE = 12.0
"""Microseconds of a report without its commit, on a machine on which the C echo takes ``ECHOES``."""
ECHOES = 2.2
P99_OF_AIOCOAP = 1 / 20
CACHE = 250_000_000
"""Bytes for the keys of a million sessions."""
MILLION = 1_000_000
MANY_OF_FEW = 1.3


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


@dataclass(frozen=True, slots=True)
class Report(comparison.Report[Sample]):
    """Everything that was measured, and on what."""

    limits: Sequence[Limit]
    """Those of which all was measured."""


def limits(medians: Mapping[str, Sample], sessions: Mapping[str, int]) -> list[Limit]:
    """Return what is promised of that which was measured, by contender, with so many ``sessions`` each."""
    found = []
    ours, lane, few, many = (medians.get(name) for name in (OURS, UNCOMMITTED, FEW, MANY))
    aiocoap, libcoap, echo = (medians.get(name) for name in (AIOCOAP, LIBCOAP, ECHO))
    if ours and aiocoap:
        found.append(Limit("CPU of a durable report, times aiocoap's", ours.cpu / aiocoap.cpu, OF_AIOCOAP))
    if ours and libcoap:
        found.append(Limit("CPU of a durable report, times libcoap's", ours.cpu / libcoap.cpu, OF_LIBCOAP))
    if lane and echo:
        name, slower = "CPU of a report without its commit, µs", 1.0
        if echo.cpu > ECHOES:
            name += f", scaled from an echo of {echo.cpu:.1f} µs to one of {ECHOES} µs"
            slower = echo.cpu / ECHOES
        found.append(Limit(name, lane.cpu / slower, LANE))
    if ours and aiocoap:
        found.append(Limit("99th percentile at 30 % load, times aiocoap's", ours.p99 / aiocoap.p99, P99_OF_AIOCOAP))
    if many:
        count = sessions[MANY]
        found.append(Limit(f"MB of memory for {count:,} sessions", many.memory / 1e6, CACHE * count / MILLION / 1e6))
        if few:
            name = f"CPU of a report with {count:,} sessions, times that with {sessions[FEW]:,}"
            found.append(Limit(name, many.cpu / few.cpu, MANY_OF_FEW))
    return found


def table(report: Report, *, markdown: bool) -> "Table":
    """Return the table of the servers that a person reads; CPU time is of a report."""
    first: Columns[Sample] = {
        "server": lambda cell: report.name(cell.contender),
        WORDS.sizes: lambda cell: f"{cell.size:,}",
    }
    last: Columns[Sample] = {"verified": lambda cell: f"{cell.median.reports - cell.median.faults:,}"}
    return comparison.table(report, WORDS, first, last, markdown=markdown)


def limits_table(report: Report, *, markdown: bool) -> "Table":
    """Return what is promised, what was found, and whether that holds."""
    made = comparison.new_table(markdown=markdown)
    made.add_column("promise")
    for heading in ("found", "at most", "holds"):
        made.add_column(heading, justify="right")
    for limit in report.limits:
        made.add_row(limit.name, f"{limit.found:.3g}", f"{limit.most:.3g}", "yes" if limit.holds else "no")
    return made
