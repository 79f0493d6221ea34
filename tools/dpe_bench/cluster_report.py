"""What `dpe bench cluster` has found, as tables and as a plot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dpe_bench import cluster_rows, cluster_run, cluster_stores, plot
from dpe_bench.cluster_stores import POSTGRESQL, SQLITE
from dpe_bench.samples import merge
from dpe_bench.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

GROWN: Mapping[str, Callable[[cluster_rows.Sample], str]] = {
    "registrations a second, new devices": lambda s: f"{s.new_rate:,.0f}",
    "of them each: CPU of the server, µs": lambda s: f"{s.new_cpu * 1e6:.0f}",
    "of them each: CPU of the database, µs": lambda s: f"{s.new_database * 1e6:.0f}",
    "registrations a second, devices with a session": lambda s: f"{s.again_rate:,.0f}",
    "batch of 100 new devices, p50 and p99, ms": lambda s: f"{s.batch_p50 * 1e3:.1f}, {s.batch_p99 * 1e3:.1f}",
    "one new device alone, p50 and p99, ms": lambda s: f"{s.single_p50 * 1e3:.2f}, {s.single_p99 * 1e3:.2f}",
    "look-up by Client ID, p50 and p99, µs": lambda s: f"{s.look_up_p50 * 1e6:.0f}, {s.look_up_p99 * 1e6:.0f}",
    "start of dpe serve, s": lambda s: f"{s.start:.2f}",
    "prune one session, µs": lambda s: f"{s.prune * 1e6:.0f}",
    "database, MB": lambda s: f"{s.database / 1e6:,.1f}",
    "bytes a row": lambda s: f"{s.row_bytes:.0f}",
    "rows a second while filling": lambda s: "-" if s.fill_rate is None else f"{s.fill_rate:,.0f}",
}


@dataclass(frozen=True, slots=True)
class Alone:
    """The stores alone, with so many processes."""

    processes: int
    medians: Mapping[str, cluster_stores.Sample]
    """By the name of the store."""
    ratio: float
    """The sessions a second of PostgreSQL divided by those of SQLite."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured, and on what."""

    machine: Mapping[str, str]
    rounds: int
    alone: Sequence[Alone] = ()
    runs: Mapping[str, cluster_run.Sample] | None = None
    """From end to end, by the name of the store."""
    grown: Sequence[cluster_rows.Sample] = ()
    faults: int = 0

    @classmethod
    def compared(
        cls,
        machine: Mapping[str, str],
        rounds: int,
        stores: Mapping[tuple[str, int], Sequence[cluster_stores.Sample]],
        runs: Mapping[str, Sequence[cluster_run.Sample]],
    ) -> Self:
        """Make a report of the rounds' samples."""
        alone = []
        for processes in sorted({count for _, count in stores}):
            medians = {name: merge(stores[name, processes]) for name in (SQLITE, POSTGRESQL)}
            alone.append(Alone(processes, medians, medians[POSTGRESQL].rate / medians[SQLITE].rate))
        faults = sum(sample.faults for samples in stores.values() for sample in samples)
        faults += sum(run.faults for samples in runs.values() for run in samples)
        return cls(machine, rounds, alone, {name: merge(samples) for name, samples in runs.items()}, faults=faults)


def tables(report: Report, *, markdown: bool) -> "list[Table]":
    """Return the tables that a person reads."""
    if report.grown:
        made = new_table(markdown=markdown)
        made.add_column("devices in PostgreSQL")
        for sample in report.grown:
            made.add_column(f"{sample.rows:,}", justify="right")
        for name, figure in GROWN.items():
            made.add_row(name, *map(figure, report.grown))
        return [made]
    return [_alone(report, markdown=markdown), _end_to_end(report, markdown=markdown)]


def _alone(report: Report, *, markdown: bool) -> "Table":
    made = new_table(markdown=markdown)
    for title in ("store", "processes", "sessions/s", "ratio", "batch p50", "p99", "CPU", "database", "standby"):
        made.add_column(title, justify="left" if title == "store" else "right")
    for one in report.alone:
        for name, sample in one.medians.items():
            shared = name == POSTGRESQL
            made.add_row(
                name,
                str(one.processes),
                f"{sample.rate:,.0f}",
                f"{one.ratio:.2f}" if shared else "1",
                f"{sample.p50 * 1e3:.1f} ms",
                f"{sample.p99 * 1e3:.1f} ms",
                f"{sample.cpu * 1e6:.1f} µs",
                f"{sample.database * 1e6:.1f} µs" if shared else "-",
                f"{sample.standbys * 1e6:.1f} µs" if shared else "-",
            )
    return made


def _end_to_end(report: Report, *, markdown: bool) -> "Table":
    made = new_table(markdown=markdown)
    for title in ("end to end", "registrations/s", "CPU of the server", "p50", "p99", "database", "standby"):
        made.add_column(title, justify="left" if title == "end to end" else "right")
    for name, sample in (report.runs or {}).items():
        shared = name == POSTGRESQL
        made.add_row(
            name,
            f"{sample.rate:,.0f}",
            f"{sample.cpu:.0f} µs",
            f"{sample.p50 / 1e3:.2f} ms",
            f"{sample.p99 / 1e3:.2f} ms",
            f"{sample.database:.0f} µs" if shared else "-",
            f"{sample.standbys:.0f} µs" if shared else "-",
        )
    return made


def draw(report: Report, path: Path) -> None:
    """Write the plot of the growth."""
    made = plot.figure(10, 5.5)
    panels: dict[str, dict[str, Callable[[cluster_rows.Sample], float]]] = {
        "durable registrations a second, batches of 100": {
            "new devices": lambda s: s.new_rate,
            "devices with a session": lambda s: s.again_rate,
        },
        "CPU of a registration, µs": {
            "server": lambda s: s.new_cpu * 1e6,
            "database": lambda s: s.new_database * 1e6,
        },
        "a registration, ms": {
            "alone, p50": lambda s: s.single_p50 * 1e3,
            "alone, p99": lambda s: s.single_p99 * 1e3,
            "in a batch of 100, p50": lambda s: s.batch_p50 * 1e3,
            "in a batch of 100, p99": lambda s: s.batch_p99 * 1e3,
        },
        "a look-up by Client ID, µs": {"p50": lambda s: s.look_up_p50 * 1e6, "p99": lambda s: s.look_up_p99 * 1e6},
        "bytes a row": {"database": lambda s: s.row_bytes},
        "a command, s": {"dpe serve until ready": lambda s: s.start},
    }
    rows = [sample.rows for sample in report.grown]
    for index, (title, series) in enumerate(panels.items(), 1):
        axes = made.add_subplot(2, 3, index)
        plot.growth(axes, rows, {name: [value(one) for one in report.grown] for name, value in series.items()})
        plot.tidy(axes, title)
    plot.save(made, path, report.machine)
