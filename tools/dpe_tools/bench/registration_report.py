"""What `dpe bench registrations` has found, as a table and as a plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dpe_tools.bench import plot
from dpe_tools.bench.registration_run import Sample, Settings
from dpe_tools.bench.samples import merge

if TYPE_CHECKING:
    from rich.table import Table

AIOCOAP = "aiocoap"


@dataclass(frozen=True, slots=True)
class Cell:
    """One server with its store on one file system."""

    server: str
    store: str
    median: Sample
    ratio: float | None
    """Its registrations a second divided by those behind stock aiocoap."""
    rounds: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured, and on what."""

    machine: Mapping[str, str]
    settings: Settings
    cells: Sequence[Cell]

    @classmethod
    def of(
        cls, machine: Mapping[str, str], settings: Settings, samples: Mapping[tuple[str, str], Sequence[Sample]]
    ) -> Self:
        """Make a report of the rounds' samples, by store and server."""
        medians = {key: merge(rounds) for key, rounds in samples.items()}
        cells = []
        for (store, server), median in medians.items():
            stock = medians.get((store, AIOCOAP))
            ratio = median.rate / stock.rate if stock and stock.rate else None
            cells.append(Cell(server, store, median, ratio, samples[store, server]))
        return cls(machine, settings, cells)


def table(report: Report, *, markdown: bool) -> "Table":
    """Return the table that a person reads; CPU time is of a registration, bytes of an exchange."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    for heading in ("store", "server"):
        made.add_column(heading)
    for heading in (
        "registrations/s", "times aiocoap's", "CPU µs", "user + kernel", "p50 ms", "p99 ms", "p99.9 ms", "bytes",
        "GC ms", "checked",
    ):  # fmt: skip
        made.add_column(heading, justify="right")
    for cell in report.cells:
        m = cell.median
        made.add_row(
            cell.store,
            cell.server,
            f"{m.rate:,.0f}",
            "-" if cell.ratio is None else f"{cell.ratio:.1f}",
            f"{m.cpu:.0f}",
            f"{m.user:.0f} + {m.kernel:.0f}",
            f"{m.p50 / 1e3:.1f}",
            f"{m.p99 / 1e3:.1f}",
            f"{m.p999 / 1e3:.1f}",
            f"{m.memory:,.0f}",
            "-" if m.longest_gc is None else f"{m.longest_gc:.1f}",
            f"{m.checked:,}",
        )
    return made


def draw(report: Report, path: Path) -> None:
    """Draw registrations a second, and response times, side by side."""
    figure = plot.figure(8.5, 3.2)
    rates, times = figure.subplots(1, 2)
    stores = list(dict.fromkeys(cell.store for cell in report.cells))
    servers = list(dict.fromkeys(cell.server for cell in report.cells))
    width = 0.8 / len(servers)
    for index, server in enumerate(servers):
        cells = {cell.store: cell.median for cell in report.cells if cell.server == server}
        places = [at + (index + 0.5) * width - 0.4 for at, store in enumerate(stores) if store in cells]
        colour = plot.COLOURS[index % len(plot.COLOURS)]
        bars = rates.bar(places, [cell.rate for cell in cells.values()], width, label=server, color=colour)
        rates.bar_label(bars, fmt="%.0f", fontsize=7)
        bars = times.bar(places, [cell.p99 / 1e3 for cell in cells.values()], width, color=colour)
        times.bar_label(bars, fmt="%.3g", fontsize=7)
    for axes, title in (
        (rates, "complete registrations a second"),
        (times, "99th percentile of a registration, ms,\nat 30 % of each server's own capacity"),
    ):
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(stores)), stores)
        axes.spines[["top", "right"]].set_visible(False)
    times.set_yscale("log")
    rates.legend(fontsize=7, frameon=False)
    plot.save(figure, path, dict(report.machine))
