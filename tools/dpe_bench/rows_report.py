"""What `dpe bench rows` has found, as a table and as a plot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpe_bench import plot
from dpe_bench.rows_measure import Sample
from dpe_bench.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

FIGURES: Mapping[str, Callable[[Sample], str]] = {
    "registrations a second, new devices": lambda s: f"{s.new_rate:,.0f}",
    "of them each: CPU, µs": lambda s: f"{s.new_cpu * 1e6:.0f}",
    "registrations a second, devices with a session": lambda s: f"{s.again_rate:,.0f}",
    "of them each: CPU, µs ": lambda s: f"{s.again_cpu * 1e6:.0f}",
    "batch of 100 new devices, p50 and p99, ms": lambda s: f"{s.batch_p50 * 1e3:.1f}, {s.batch_p99 * 1e3:.1f}",
    "one new device alone, p50 and p99, ms": lambda s: f"{s.single_p50 * 1e3:.2f}, {s.single_p99 * 1e3:.2f}",
    "look-up by Client ID, p50 and p99, µs": lambda s: f"{s.look_up_p50 * 1e6:.0f}, {s.look_up_p99 * 1e6:.0f}",
    "dpe device show, s": lambda s: f"{s.show:.2f}",
    "start of dpe serve, s": lambda s: f"{s.start:.2f}",
    "prune one session, µs": lambda s: f"{s.prune * 1e6:.0f}",
    "longest commit beside pruning, ms": lambda s: f"{s.prune_wait * 1e3:.0f}",
    "database, MB": lambda s: f"{s.database / 1e6:,.1f}",
    "bytes a row": lambda s: f"{s.row_bytes:.0f}",
    "write-ahead log, MB": lambda s: f"{s.log / 1e6:.1f}",
    "rows a second while filling": lambda s: "-" if s.fill_rate is None else f"{s.fill_rate:,.0f}",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured, and on what."""

    machine: Mapping[str, str]
    samples: Sequence[Sample]


def table(report: Report, *, markdown: bool) -> "Table":
    """Return the table that a person reads, a column for each number of rows."""
    made = new_table(markdown=markdown)
    made.add_column("rows")
    for sample in report.samples:
        made.add_column(f"{sample.rows:,}", justify="right")
    for name, figure in FIGURES.items():
        made.add_row(name, *map(figure, report.samples))
    return made


def draw(report: Report, path: Path) -> None:
    """Write the plot."""
    made = plot.figure(10, 5.5)
    panels: dict[str, dict[str, Callable[[Sample], float]]] = {
        "bytes a row": {"database": lambda s: s.row_bytes},
        "durable registrations a second, batches of 100": {
            "new devices": lambda s: s.new_rate,
            "devices with a session": lambda s: s.again_rate,
        },
        "CPU of a registration, µs": {
            "new devices": lambda s: s.new_cpu * 1e6,
            "devices with a session": lambda s: s.again_cpu * 1e6,
        },
        "a registration, ms": {
            "alone, p50": lambda s: s.single_p50 * 1e3,
            "alone, p99": lambda s: s.single_p99 * 1e3,
            "in a batch of 100, p50": lambda s: s.batch_p50 * 1e3,
            "in a batch of 100, p99": lambda s: s.batch_p99 * 1e3,
        },
        "a look-up by Client ID, µs": {"p50": lambda s: s.look_up_p50 * 1e6, "p99": lambda s: s.look_up_p99 * 1e6},
        "a command, s": {"dpe serve until ready": lambda s: s.start, "dpe device show": lambda s: s.show},
    }
    rows = [sample.rows for sample in report.samples]
    for index, (title, series) in enumerate(panels.items(), 1):
        axes = made.add_subplot(2, 3, index)
        plot.growth(axes, rows, {name: [value(one) for one in report.samples] for name, value in series.items()})
        plot.tidy(axes, title)
    plot.save(made, path, report.machine)
