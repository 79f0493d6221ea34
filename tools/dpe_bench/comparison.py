"""What `dpe bench server` and `dpe bench sessions` share: servers take turns, round by round, and one table shows all.

A server is measured with a *size*: a number of endpoints, or of sessions.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from dpe_bench import machine
from dpe_bench.contenders import OURS, Contender
from dpe_bench.limits import Limit, complain, limits_table
from dpe_bench.native import Missing
from dpe_bench.process import Cores
from dpe_bench.samples import SUM, merge
from dpe_bench.tables import new_table
from dpe_tools import terminal

if TYPE_CHECKING:
    from rich.table import Table

_Command = TypeVar("_Command", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long to measure."""

    rounds: int
    seconds: float
    """Of each closed loop."""
    open_seconds: float
    """Of each open loop: long enough to have in it what a server does now and then."""
    window: int
    """Exchanges under way in the closed loop."""
    warm_up: int
    """Exchanges before anything counts, for what is loaded, allocated or compiled with the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one round found. Times are microseconds."""

    cpu: float
    """CPU time of the server for one exchange."""
    user: float
    kernel: float
    rate: float
    """Exchanges a second in the closed loop."""
    p50: float
    p99: float
    p999: float
    offered: float
    """Exchanges a second in the open loop that the response times are from."""
    resent: int = field(metadata=SUM)
    faults: int = field(metadata=SUM)
    """Answers that were wrong, refused or missing."""


_Contender = TypeVar("_Contender", bound=Contender)
_Sample = TypeVar("_Sample", bound=Sample)


@dataclass(frozen=True)
class Cell(Generic[_Sample]):
    """One contender with one size."""

    contender: str
    size: int
    median: _Sample
    ratio: float | None
    """Its CPU time for an exchange divided by this server's, with the same size if that was measured."""
    rounds: Sequence[_Sample]


@dataclass(frozen=True)
class Report(Generic[_Sample]):
    """Everything that was measured, and on what."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    """By contender."""
    settings: Settings
    cells: Sequence[Cell[_Sample]]
    missing: Mapping[str, str]
    """Why a contender was not measured."""
    limits: Sequence[Limit]
    """Those of which all was measured."""

    def name(self, contender: str) -> str:
        """Return what a reader is told of a contender."""
        return contender if contender.startswith(OURS) else self.versions[contender]


@dataclass(frozen=True, slots=True)
class Words:
    """How a benchmark speaks of itself."""

    sizes: str
    exchange: str
    wrong: str
    """What is said of exchanges that went wrong, behind their number."""


@dataclass(frozen=True, slots=True)
class Given:
    """The options that both have."""

    names: tuple[str, ...]
    rounds: int
    seconds: float
    open_seconds: float
    window: int
    quick: bool
    peers: str
    markdown: bool
    as_json: bool


def options(
    contenders: Mapping[str, object], words: Words, *, seconds: float, window: int, peer: str
) -> Callable[[_Command], _Command]:
    """Give a command the options of ``Given``. ``peer`` is what tools/fetch_peers has fetched for it."""
    positive = click.FloatRange(0.1)
    made = [
        click.option(
            "--contender", "names", type=click.Choice(list(contenders)), multiple=True,
            help="Measure only this server. Repeatable.",
        ),
        click.option(
            "--rounds", type=click.IntRange(1), default=3, show_default=True, help="How many rounds; the median counts."
        ),
        click.option(
            "--seconds", type=positive, default=seconds, show_default=True, help="Length of each closed loop."
        ),
        click.option(
            "--open-seconds", type=positive, default=20.0, show_default=True, help="Length of each open loop."
        ),
        click.option(
            "--window", type=click.IntRange(1, 4096), default=window, show_default=True,
            help=f"{words.exchange.capitalize()}s under way.",
        ),
        click.option(
            "--quick", is_flag=True,
            help=f"Send a few thousand {words.exchange}s each, to see that it works, not to measure.",
        ),
        click.option(
            "--peers", default=".cache/peers", show_default=True,
            help=f"The folder in which tools/fetch_peers has put {peer}.",
        ),
        click.option("--markdown", is_flag=True, help="Print what is found as Markdown."),
        click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON."),
    ]  # fmt: skip

    def give(command: _Command) -> _Command:
        for one in reversed(made):
            command = one(command)
        return command

    return give


def ready(
    names: Sequence[str], contenders: Mapping[str, Callable[..., _Contender]], *places: object
) -> tuple[list[_Contender], dict[str, str]]:
    """Make the named contenders ready, or else all, and say why others are missing. Raises Missing for a named one."""
    made: list[_Contender] = []
    missing: dict[str, str] = {}
    for name in dict.fromkeys(names) or contenders:
        try:
            made.append(contenders[name](*places))
        except Missing as error:
            if names:
                raise
            missing[name] = f"{error} ({error.hint})"
    return made, missing


def take_turns(
    cases: Sequence[tuple[_Contender, int]],
    rounds: int,
    cores: Cores,
    words: Words,
    measure: Callable[[_Contender, int], _Sample],
) -> list[Cell[_Sample]]:
    """Measure all contenders, each with a size, in each round."""
    samples: dict[tuple[str, int], list[_Sample]] = {}
    for number in range(1, rounds + 1):
        for contender, size in cases:
            sample = measure(contender, size)
            samples.setdefault((contender.name, size), []).append(sample)
            where = f"round {number}, {size:,} {words.sizes}, {contender.name}"
            _say(f"{where}: {sample.cpu:.1f} µs of CPU a {words.exchange}")
    if cores.server is None:
        _say("this machine has one core: the load generator disturbs the servers")
    return cells(samples)


def cells(samples: Mapping[tuple[str, int], Sequence[_Sample]]) -> list[Cell[_Sample]]:
    """Return the median of each contender with each size, beside this server's."""
    medians = {key: merge(rounds) for key, rounds in samples.items()}
    any_of_ours = next((median for (name, _), median in medians.items() if name == OURS), None)
    made = []
    for (name, size), median in medians.items():
        ours = medians.get((OURS, size), any_of_ours)
        ratio = median.cpu / ours.cpu if ours and ours.cpu else None
        made.append(Cell(name, size, median, ratio, samples[name, size]))
    return made


Columns = Mapping[str, Callable[[Cell[_Sample]], str]]
"""By heading, what stands there."""


def table(
    report: Report[_Sample], words: Words, first: Columns[_Sample], last: Columns[_Sample], *, markdown: bool
) -> "Table":
    """Return the table that a person reads, between the columns ``first`` and ``last``; CPU time is of an exchange."""
    columns: dict[str, Callable[[Cell[_Sample]], str]] = {
        **first,
        "CPU µs": lambda cell: f"{cell.median.cpu:.1f}",
        "user + kernel": lambda cell: f"{cell.median.user:.1f} + {cell.median.kernel:.1f}",
        "times ours": lambda cell: "-" if cell.ratio is None else f"{cell.ratio:.2f}",
        f"{words.exchange}s/s": lambda cell: f"{cell.median.rate:,.0f}",
        "p50 µs": lambda cell: f"{cell.median.p50:,.0f}",
        "p99 µs": lambda cell: f"{cell.median.p99:,.0f}",
        "p99.9 µs": lambda cell: f"{cell.median.p999:,.0f}",
        **last,
    }
    made = new_table(markdown=markdown)
    for heading in columns:
        made.add_column(heading, justify="left" if heading == "server" else "right")
    before = None
    for cell in report.cells:
        if words.sizes == next(iter(first)) and before not in (None, cell.size) and not markdown:
            made.add_section()
        before = cell.size
        made.add_row(*(column(cell) for column in columns.values()))
    return made


def show(report: Report[Any], words: Words, shown: "Table", given: Given) -> int:
    """Print a report; return the exit status: 1 if anything went wrong, or a limit does not hold that was measured."""
    limits = () if given.quick else report.limits
    if given.as_json:
        told = asdict(report)
        told["cells"] = [{words.sizes if key == "size" else key: cell[key] for key in cell} for cell in told["cells"]]
        terminal.print_json(told)
    else:
        out = terminal.console()
        out.print(shown)
        if limits:
            out.print(limits_table(limits, markdown=given.markdown))
        click.echo(machine.sentence(report.machine))
        for what, why in report.missing.items():
            click.echo(f"{what} was not measured: {why}")
    for cell in report.cells:
        if cell.median.faults:
            click.echo(f"dpe: error: {cell.contender}: {cell.median.faults} {words.wrong}", err=True)
    status = complain(limits)
    return 1 if any(cell.median.faults for cell in report.cells) else status


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
