"""What `dpe bench sessions` has found, as a table, and the limits that are promised."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from dpe_bench import comparison
from dpe_bench.comparison import Columns, Words
from dpe_bench.contenders import AIOCOAP, ECHO, LIBCOAP, OURS
from dpe_bench.limits import Limit, scaled
from dpe_bench.session_contenders import FEW, MANY, UNCOMMITTED
from dpe_bench.session_run import Sample

if TYPE_CHECKING:
    from rich.table import Table

WORDS = Words("sessions", "report", "reports went wrong")
Report: TypeAlias = comparison.Report[Sample]
OF_AIOCOAP = 1 / 8
OF_LIBCOAP = 1.2
DURABLE = 35.0
"""Microseconds of a durable report."""
LANE = 12.0
"""Microseconds of a report without its commit."""
P99_OF_AIOCOAP = 1 / 20
CACHE = 250_000_000
"""Bytes for the keys of a million sessions."""
MILLION = 1_000_000
MANY_OF_FEW = 1.3


def limits(medians: Mapping[str, Sample], sessions: Mapping[str, int]) -> list[Limit]:
    """Return what is promised of that which was measured, by contender, with so many ``sessions`` each."""
    found = []
    ours, lane, few, many = (medians.get(name) for name in (OURS, UNCOMMITTED, FEW, MANY))
    aiocoap, libcoap, echo = (medians.get(name) for name in (AIOCOAP, LIBCOAP, ECHO))
    if ours and aiocoap:
        found.append(Limit("CPU of a durable report, times aiocoap's", ours.cpu / aiocoap.cpu, OF_AIOCOAP))
    if ours and libcoap:
        found.append(Limit("CPU of a durable report, times libcoap's", ours.cpu / libcoap.cpu, OF_LIBCOAP))
    if ours and echo:
        found.append(scaled("CPU of a durable report, µs", ours.cpu, DURABLE, echo=echo.cpu))
    if lane and echo:
        found.append(scaled("CPU of a report without its commit, µs", lane.cpu, LANE, echo=echo.cpu))
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
