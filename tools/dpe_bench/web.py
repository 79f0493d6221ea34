"""`dpe bench web`: whether devices notice that a thousand visitors look at the page of their server."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import click
from rich.table import Table

from dpe_bench import generator, machine
from dpe_bench.process import Cores
from dpe_bench.registration_run import Fleet, Rig, Settings
from dpe_bench.registrations import MEMORY
from dpe_bench.web_run import Pair, measure
from dpe_coap.errors import LocalError
from dpe_tools import terminal

ALLOWED = 1.10
"""Times the response time without visitors, plus what two measurements without them differ by."""
DEVICES = 20_000
WINDOW = 128


@click.command()
@click.option("--visitors", type=click.IntRange(1, 2_000), default=1_000, show_default=True, help="How many at a time.")
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, help="How often; the median counts.")
@click.option("--seconds", type=click.FloatRange(0.1), default=6.0, show_default=True, help="Length of each load.")
@click.option("--quick", is_flag=True, help="Do little, to see that it works, not to measure.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def web(visitors: int, pairs: int, seconds: float, quick: bool, as_json: bool) -> int:
    """Measure what visitors of `dpe web` do to the devices' response times.

    A server has one core. Its page, its metrics, the visitors and the devices share the other one, on which the devices
    go first. Devices register at 30 % of what the server can do: without visitors, with as many as are wanted, all of
    whom ask for pages and of the API without a pause, and without them again. Every answer is verified. The store is in
    memory, so that a disk does not blur it. Root only: nobody else may go first on a core.

    Exit status 1: an answer was wrong or missing, or the 99th percentile of REQUEST to RESPONSE was more than 1.1 times
    that without visitors, plus what the two without them differ by.
    """
    if quick:
        visitors, pairs, seconds = min(visitors, 20), 1, 0.3
    settings = Settings(rounds=1, seconds=seconds, window=WINDOW, devices=2_000 if quick else DEVICES)
    found = _measure(settings, visitors, pairs)
    ratio, same = _ratios(found)
    if as_json:
        rows = [asdict(one) for one in found]
        terminal.print_json({"machine": machine.describe(), "pairs": rows, "ratio": ratio, "same": same})
    else:
        terminal.console().print(_table(found))
        click.echo(f"with visitors / without: {ratio:.3f}; without / without: {same:.3f}")
        click.echo(machine.sentence(machine.describe()))
    if faults := sum(one.faults for one in found):
        told = next((one.told for one in found if one.told), "")
        click.echo(f"dpe: error: {faults} answers were wrong or missing; {told!r}", err=True)
    return 1 if faults or (ratio > ALLOWED + abs(same - 1) and not quick) else 0


def _measure(settings: Settings, visitors: int, pairs: int) -> list[Pair]:
    cores = Cores.here()
    if cores.server is None:
        raise LocalError("this needs two cores: one for the server, one for those who look at its page")
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="dpe-bench-") as scratch_folder,
        tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=MEMORY if MEMORY.is_dir() else None) as folder,
    ):
        scratch = Path(scratch_folder)
        rig = Rig(settings, Fleet.make(scratch, settings.devices), generator.build(scratch), cores, scratch / "log")
        for number, pair in enumerate(measure(rig, Path(folder), visitors, pairs), 1):
            found.append(pair)
            print(
                f"pair {number}: p99 {pair.request.idle:,.0f} and {pair.request.visited:,.0f} us",
                file=sys.stderr,
                flush=True,
            )
    return found


def _ratios(found: Sequence[Pair]) -> tuple[float, float]:
    """Return what visitors change, and what nothing changes: medians of the pairs."""
    return (
        median(2 * one.request.visited / (one.request.idle + one.request.again) for one in found),
        median(one.request.again / one.request.idle for one in found),
    )


def _table(found: Sequence[Pair]) -> Table:
    table = Table(
        "REQUEST to RESPONSE, p99", "with visitors", "without again", "registration, p99", "with", "again", "answers",
        box=None,
    )  # fmt: skip
    for one in found:
        times = (*one.request, *one.registration)
        table.add_row(*(f"{time:,.0f} us" for time in times), f"{one.answers:,}")
    return table
