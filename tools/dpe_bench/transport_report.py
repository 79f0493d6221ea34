"""What `dpe bench server` has found, as a table and as a plot, and the limits that are promised."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dpe_bench import comparison, plot
from dpe_bench.comparison import Cell, Columns, Words
from dpe_bench.contenders import LIBCOAP_IDLE, OURS
from dpe_bench.limits import Limit
from dpe_bench.transport import Sample

if TYPE_CHECKING:
    from rich.table import Table


WORDS = Words("endpoints", "request", "requests were not answered right")
Report: TypeAlias = comparison.Report[Sample]
OF_LIBCOAP = 1.0
FEW, MANY = 64, 1_000_000
"""Endpoints."""
MANY_OF_FEW = 1.1


def table(report: Report, *, markdown: bool) -> "Table":
    """Return the table that a person reads; CPU time is of a request, bytes of an exchange."""
    first: Columns[Sample] = {WORDS.sizes: _endpoints, "server": lambda cell: report.name(cell.contender)}
    last: Columns[Sample] = {
        "bytes": lambda cell: f"{cell.median.memory:,.0f}",
        "GC ms": lambda cell: "-" if cell.median.longest_gc is None else f"{cell.median.longest_gc:.1f}",
    }
    return comparison.table(report, WORDS, first, last, markdown=markdown)


def limits(cells: Sequence[Cell[Sample]]) -> list[Limit]:
    """Return what is promised of that which was measured."""
    cost = {(cell.contender, cell.size): cell.median.cpu for cell in cells}
    found = []
    for (contender, size), libcoap in cost.items():
        if contender == LIBCOAP_IDLE and (OURS, size) in cost:
            name = f"CPU of a request with {size:,} endpoints, times that of libcoap with bounded sessions"
            found.append(Limit(name, cost[OURS, size] / libcoap, OF_LIBCOAP))
    if (OURS, FEW) in cost and (OURS, MANY) in cost:
        name = f"CPU of a request with {MANY:,} endpoints, times that with {FEW}"
        found.append(Limit(name, cost[OURS, MANY] / cost[OURS, FEW], MANY_OF_FEW))
    return found


def _endpoints(cell: Cell[Sample]) -> str:
    seen = "" if cell.median.seen == cell.size else f", {cell.median.seen:,.0f} seen"
    return f"{cell.size:,}{seen}"


def draw(report: Report, path: Path) -> None:
    """Draw CPU time and response times, side by side, both on a logarithmic scale."""
    figure = plot.figure(8.5, 3.8)
    cost, times = figure.subplots(1, 2)
    costs: dict[str, dict[str, float]] = {}
    tops: dict[str, dict[str, float]] = {}
    for cell in report.cells:
        costs.setdefault(cell.contender, {})[f"{cell.size:,} endpoints"] = cell.median.cpu
        tops.setdefault(cell.contender, {})[f"{cell.size:,} endpoints"] = cell.median.p99
    plot.bars(cost, costs)
    plot.bars(times, tops)
    cost.set_yscale("log")
    times.set_yscale("log")
    plot.tidy(cost, "CPU time of the server, µs a request")
    plot.tidy(times, "99th percentile of the response time, µs,\nat 30 % of each server's own capacity")
    plot.save(figure, path, {**report.machine, "with": ", ".join(report.versions.values())})
