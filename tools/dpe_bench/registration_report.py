"""What `dpe bench registrations` has found, as a table and as a plot, and the limits that are promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dpe_bench import plot, transport
from dpe_bench.contenders import AIOCOAP, OURS
from dpe_bench.limits import Limit, scaled
from dpe_bench.registration_run import Profile, Sample, Settings
from dpe_bench.samples import merge
from dpe_bench.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

DURABLE = "durable"
"""How the name of a store begins that is on a disk."""
CPU = 95.0
"""Microseconds of a durable registration."""
P99 = 10.0
"""Milliseconds of a durable registration at 30 % load."""


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
    echo: transport.Sample | None
    """The C echo with 64 endpoints, if it was measured."""
    limits: Sequence[Limit]
    """Those of which all was measured."""
    profile: Profile | None
    """Of this server with the durable store."""

    @classmethod
    def of(
        cls,
        machine: Mapping[str, str],
        settings: Settings,
        samples: Mapping[tuple[str, str], Sequence[Sample]],
        echoes: Sequence[transport.Sample],
        profile: Profile | None,
    ) -> Self:
        """Make a report of the rounds' samples, by store and server."""
        medians = {key: merge(rounds) for key, rounds in samples.items()}
        cells = []
        for (store, server), median in medians.items():
            stock = medians.get((store, AIOCOAP))
            ratio = median.rate / stock.rate if stock and stock.rate else None
            cells.append(Cell(server, store, median, ratio, samples[store, server]))
        echo = merge(echoes) if echoes else None
        return cls(machine, settings, cells, echo, limits(medians, echo), profile)

    @property
    def faults(self) -> int:
        """How many registrations and requests of the echo went wrong."""
        return sum(cell.median.faults for cell in self.cells) + (self.echo.faults if self.echo else 0)


def limits(medians: Mapping[tuple[str, str], Sample], echo: transport.Sample | None) -> list[Limit]:
    """Return what is promised of that which was measured, by store and server."""
    found = []
    for (store, server), median in medians.items():
        if echo and server == OURS and store.startswith(DURABLE):
            found = [
                scaled("CPU of a durable registration, µs", median.cpu, CPU, echo=echo.cpu),
                scaled("99th percentile at 30 % load, ms", median.p99 / 1e3, P99, echo=echo.cpu),
            ]
    return found


def table(report: Report, *, markdown: bool) -> "Table":
    """Return the table that a person reads; CPU time is of a registration, bytes of an exchange."""
    made = new_table(markdown=markdown)
    for heading in ("store", "server"):
        made.add_column(heading)
    for heading in (
        "registrations/s", "times aiocoap's", "CPU µs", "user + kernel", "p50 ms", "p99 ms", "p99.9 ms", "discovery ms",
        "exchanges", "bytes", "GC ms", "checked",
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
            f"{m.discovery / 1e3:.1f}",
            f"{m.exchanges:,.0f}",
            f"{m.memory:,.0f}",
            "-" if m.longest_gc is None else f"{m.longest_gc:.1f}",
            f"{m.checked:,}",
        )
    return made


def stages_table(profile: Profile, *, markdown: bool) -> "Table":
    """Return where the CPU time goes, as a table."""
    made = new_table(markdown=markdown)
    made.add_column("stage")
    made.add_column("µs a registration", justify="right")
    made.add_column("share", justify="right")
    total = sum(profile.stages.values())
    for stage, cost in profile.stages.items():
        made.add_row(stage, f"{cost:.1f}", f"{cost / total:.0%}")
    made.add_row("sum", f"{total:.1f}", "100%")
    made.add_row("measured for the process", f"{profile.measured:.1f}", "")
    return made


def draw(report: Report, path: Path) -> None:
    """Draw registrations a second, response times and, if known, where the CPU time goes, side by side."""
    figure = plot.figure(8.5 if report.profile is None else 12, 3.8)
    rate, time, *more = figure.subplots(1, 2 if report.profile is None else 3)
    rates: dict[str, dict[str, float]] = {}
    tops: dict[str, dict[str, float]] = {}
    for cell in report.cells:
        rates.setdefault(cell.server, {})[cell.store] = cell.median.rate
        tops.setdefault(cell.server, {})[cell.store] = cell.median.p99 / 1e3
    plot.bars(rate, rates)
    plot.bars(time, tops)
    plot.tidy(rate, "complete registrations a second")
    plot.tidy(time, "99th percentile of a registration, ms,\nat 30 % of each server's own capacity")
    if report.profile is not None:
        (stages,) = more
        drawn = stages.barh(list(report.profile.stages), list(report.profile.stages.values()), color=plot.COLOURS[0])
        stages.bar_label(drawn, fmt="%.1f", fontsize=6)
        stages.invert_yaxis()
        plot.tidy(stages, "CPU time of this server by stage,\nµs a durable registration")
    plot.save(figure, path, report.machine)
