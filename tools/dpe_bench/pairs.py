"""`dpe bench pairs`: what a request costs in this checkout and in another, in alternating runs."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from statistics import median

import click
from rich.table import Table

from dpe_bench import machine
from dpe_coap.errors import LocalError
from dpe_tools import terminal

ROOTS = ("", "device", "server", "tools")
"""Where a checkout has its packages."""
JOBS: Mapping[str, Sequence[str]] = {
    "transport job": (
        "server", "--contender", "this server", "--endpoints", "64", "--open-seconds", "0.1", "--fill-seconds", "0",
    ),
    "durable registrations": (
        "registrations", "--server", "this server", "--durable-only", "--devices", "20000",
    ),
}  # fmt: skip
"""The benchmark of each job, at its smallest."""
ALLOWED = 1.03
"""Times the other's CPU time, plus what two runs of the same commit differ by."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """CPU time of the server for a request in microseconds, run by run, and ratios of the medians of pairs."""

    job: str
    this: Sequence[float]
    again: Sequence[float]
    """This checkout once more."""
    other: Sequence[float]

    @property
    def ratio(self) -> float:
        """This checkout's CPU time divided by the other's: the median of the pairs."""
        return median(mine / theirs for mine, theirs in zip(self.this, self.other, strict=True))

    @property
    def same(self) -> float:
        """The same of this checkout and itself."""
        return median(mine / mine_again for mine, mine_again in zip(self.this, self.again, strict=True))

    @property
    def holds(self) -> bool:
        """Whether this checkout costs no more than is allowed."""
        return self.ratio <= ALLOWED + abs(self.same - 1)


@click.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--pairs", type=click.IntRange(1), default=9, show_default=True, help="How many pairs of each job.")
@click.option("--seconds", type=click.FloatRange(0.1), default=3.0, show_default=True, help="Length of each run.")
@click.option("--job", "jobs", type=click.Choice(list(JOBS)), multiple=True, help="Compare only this. Repeatable.")
@click.option("--directory", default=".", show_default=True, help="A folder on a disk, for the durable stores.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def pairs(other: Path, pairs: int, seconds: float, jobs: tuple[str, ...], directory: str, as_json: bool) -> int:
    """Compare the server's CPU time for a request with that of another commit, checked out in OTHER.

    Both run with this Python and its packages, and every answer is verified. The runs alternate, in another order each
    time, and this checkout runs twice: what it differs from itself by is what the machine adds.

    Exit status 1: an answer was wrong or missing, or this checkout costs more than 1.03 times as much, plus what it
    differs from itself by.
    """
    here = Path(__file__).resolve().parents[2]
    there = other.resolve()
    if not (there / "server" / "dpe_server").is_dir():
        raise LocalError(f"{other} is no checkout of this project", hint="make one: git worktree add OTHER COMMIT")
    found = [
        _compare(job, here, there, pairs, ["--seconds", str(seconds)], Path(directory).resolve())
        for job in dict.fromkeys(jobs) or JOBS
    ]
    if as_json:
        rows = [{**asdict(one), "ratio": one.ratio, "same": one.same, "holds": one.holds} for one in found]
        terminal.print_json({"machine": machine.describe(), "comparisons": rows})
    else:
        terminal.console().print(_table(found))
        click.echo(machine.sentence(machine.describe()))
    return 0 if all(one.holds for one in found) else 1


def _compare(job: str, here: Path, there: Path, pairs: int, options: Sequence[str], directory: Path) -> Comparison:
    taken: dict[str, list[float]] = {"other": [], "this": [], "again": []}
    checkouts = {"other": there, "this": here, "again": here}
    orders = list(permutations(taken))
    for number in range(pairs):
        for name in orders[number % len(orders)]:
            taken[name].append(_run([*JOBS[job], *options], checkouts[name], directory))
    return Comparison(job, taken["this"], taken["again"], taken["other"])


def _run(arguments: Sequence[str], checkout: Path, directory: Path) -> float:
    """Run a benchmark of a checkout once; return the CPU time of the server for a request."""
    paths = os.pathsep.join(str(checkout / root) for root in ROOTS)
    done = subprocess.run(
        [sys.executable, "-m", "dpe_tools", "bench", *arguments, "--rounds", "1", "--json"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},  # not what lies about in the folder
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LocalError(f"the benchmark of {checkout} failed: {last[:200]}", hint="run it there by itself")
    (cell,) = json.loads(done.stdout)["cells"]
    return float(cell["median"]["cpu"])


def _table(found: Sequence[Comparison]) -> Table:
    table = Table("job", "this", "other", "this / other", "this / itself", "allowed", box=None)
    for one in found:
        table.add_row(
            one.job,
            f"{median(one.this):.1f} us",
            f"{median(one.other):.1f} us",
            f"{one.ratio:.3f}",
            f"{one.same:.3f}",
            f"{ALLOWED + abs(one.same - 1):.3f}" if one.holds else "exceeded",
        )
    return table
