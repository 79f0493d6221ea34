"""What `dpe bench server` has found, as a table and as a plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dpe_bench import plot
from dpe_bench.contenders import OURS
from dpe_bench.samples import merge
from dpe_bench.transport import Sample, Settings

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender with one number of endpoints."""

    contender: str
    endpoints: int
    median: Sample
    ratio: float | None
    """Its CPU time for a request divided by this server's."""
    rounds: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured, and on what."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    """By contender."""
    settings: Settings
    cells: Sequence[Cell]
    missing: Mapping[str, str]
    """Why a contender was not measured."""

    @classmethod
    def of(
        cls,
        machine: Mapping[str, str],
        versions: Mapping[str, str],
        settings: Settings,
        samples: Mapping[tuple[int, str], Sequence[Sample]],
        missing: Mapping[str, str],
    ) -> Self:
        """Make a report of the rounds' samples, by number of endpoints and contender."""
        medians = {key: merge(rounds) for key, rounds in samples.items()}
        cells = []
        for (count, name), median in medians.items():
            ours = medians.get((count, OURS))
            ratio = median.cpu / ours.cpu if ours and ours.cpu else None
            cells.append(Cell(name, count, median, ratio, samples[count, name]))
        return cls(machine, versions, settings, cells, missing)


def table(report: Report, *, markdown: bool) -> "Table":
    """Return the table that a person reads; CPU time is of a request, bytes of an exchange."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    for heading in ("endpoints", "server"):
        made.add_column(heading, justify="right" if heading == "endpoints" else "left")
    for heading in (
        "CPU µs", "user + kernel", "times ours", "requests/s", "p50 µs", "p99 µs", "p99.9 µs", "bytes", "GC ms",
    ):  # fmt: skip
        made.add_column(heading, justify="right")
    before = None
    for cell in report.cells:
        if before not in (None, cell.endpoints) and not markdown:
            made.add_section()
        before = cell.endpoints
        m = cell.median
        seen = "" if m.seen == cell.endpoints else f", {m.seen:,.0f} seen"
        made.add_row(
            f"{cell.endpoints:,}{seen}",
            report.versions[cell.contender] if cell.contender != OURS else OURS,
            f"{m.cpu:.1f}",
            f"{m.user:.1f} + {m.kernel:.1f}",
            "-" if cell.ratio is None else f"{cell.ratio:.2f}",
            f"{m.rate:,.0f}",
            f"{m.p50:,.0f}",
            f"{m.p99:,.0f}",
            f"{m.p999:,.0f}",
            f"{m.memory:,.0f}",
            "-" if m.longest_gc is None else f"{m.longest_gc:.1f}",
        )
    return made


def draw(report: Report, path: Path) -> None:
    """Draw CPU time and response times, side by side, both on a logarithmic scale."""
    figure = plot.figure(8.5, 3.8)
    cost, times = figure.subplots(1, 2)
    costs: dict[str, dict[str, float]] = {}
    tops: dict[str, dict[str, float]] = {}
    for cell in report.cells:
        costs.setdefault(cell.contender, {})[f"{cell.endpoints:,} endpoints"] = cell.median.cpu
        tops.setdefault(cell.contender, {})[f"{cell.endpoints:,} endpoints"] = cell.median.p99
    plot.bars(cost, costs)
    plot.bars(times, tops)
    cost.set_yscale("log")
    times.set_yscale("log")
    plot.tidy(cost, "CPU time of the server, µs a request")
    plot.tidy(times, "99th percentile of the response time, µs,\nat 30 % of each server's own capacity")
    plot.save(figure, path, {**report.machine, "with": ", ".join(report.versions.values())})
