"""What `dpe bench sessions` has found, as tables, beside the limits that are promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dpe_bench.contenders import AIOCOAP, ECHO, LIBCOAP, OURS
from dpe_bench.samples import merge
from dpe_bench.session_contenders import FEW, MANY, UNCOMMITTED
from dpe_bench.session_run import Sample, Settings

if TYPE_CHECKING:
    from rich.table import Table

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
class Cell:
    """One contender."""

    contender: str
    sessions: int
    median: Sample
    ratio: float | None
    """Its CPU time for a report divided by this server's durable one."""
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
    limits: Sequence[Limit]
    """Those of which all was measured."""

    @classmethod
    def of(
        cls,
        machine: Mapping[str, str],
        versions: Mapping[str, str],
        settings: Settings,
        samples: Mapping[tuple[str, int], Sequence[Sample]],
        missing: Mapping[str, str],
    ) -> Self:
        """Make a report of the rounds' samples, by contender and number of its sessions."""
        medians = {name: merge(rounds) for (name, _), rounds in samples.items()}
        ours = medians.get(OURS)
        cells = [
            Cell(name, count, medians[name], medians[name].cpu / ours.cpu if ours and ours.cpu else None, rounds)
            for (name, count), rounds in samples.items()
        ]
        return cls(machine, versions, settings, cells, missing, limits(medians, dict(samples.keys())))

    @property
    def faults(self) -> int:
        """How many reports were not answered as they should."""
        return sum(cell.median.faults for cell in self.cells)


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
    from rich import box
    from rich.table import Table

    made = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    made.add_column("server")
    for heading in (
        "sessions", "CPU µs", "user + kernel", "times ours", "reports/s", "p50 µs", "p99 µs", "p99.9 µs", "verified",
    ):  # fmt: skip
        made.add_column(heading, justify="right")
    for cell in report.cells:
        m = cell.median
        made.add_row(
            cell.contender if cell.contender.startswith(OURS) else report.versions[cell.contender],
            f"{cell.sessions:,}",
            f"{m.cpu:.1f}",
            f"{m.user:.1f} + {m.kernel:.1f}",
            "-" if cell.ratio is None else f"{cell.ratio:.2f}",
            f"{m.rate:,.0f}",
            f"{m.p50:,.0f}",
            f"{m.p99:,.0f}",
            f"{m.p999:,.0f}",
            f"{m.reports - m.faults:,}",
        )
    return made


def limits_table(report: Report, *, markdown: bool) -> "Table":
    """Return what is promised, what was found, and whether that holds."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    made.add_column("promise")
    for heading in ("found", "at most", "holds"):
        made.add_column(heading, justify="right")
    for limit in report.limits:
        made.add_row(limit.name, f"{limit.found:.3g}", f"{limit.most:.3g}", "yes" if limit.holds else "no")
    return made
