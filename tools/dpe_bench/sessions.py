"""`dpe bench sessions`: reports under OSCORE, durable, beside the OSCORE servers of other CoAP libraries."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from dpe_bench import generator, machine
from dpe_bench.contenders import OURS
from dpe_bench.native import Missing
from dpe_bench.process import Cores
from dpe_bench.registrations import durable_place
from dpe_bench.session_contenders import CONTENDERS, FEW, MANY, UNCOMMITTED, Places, SessionContender
from dpe_bench.session_report import MILLION, Report, limits_table, table
from dpe_bench.session_run import Rig, Sample, Settings
from dpe_tools import terminal


@click.command()
@click.option(
    "--contender",
    "names",
    type=click.Choice(list(CONTENDERS)),
    multiple=True,
    help="Measure only this server. Repeatable.",
)
@click.option("--directory", default=".", show_default=True, help="A folder on a disk, for the durable store.")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="How many rounds; the median counts."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=6.0, show_default=True, help="Length of each closed loop."
)
@click.option(
    "--open-seconds", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Length of each open loop."
)
@click.option("--window", type=click.IntRange(1, 4096), default=128, show_default=True, help="Reports under way.")
@click.option(
    "--sessions",
    "count",
    type=click.IntRange(1_000, 16_000_000),
    default=200_000,
    show_default=True,
    help="How many sessions of this server report: more than it lets report at 10 in a burst and then 1 a second.",
)
@click.option(
    "--many",
    type=click.IntRange(1_000, MILLION),
    default=MILLION,
    show_default=True,
    help="The sessions whose cost is compared with that of a thousand.",
)
@click.option("--quick", is_flag=True, help="Send a few thousand reports each, to see that it works, not to measure.")
@click.option(
    "--peers", default=".cache/peers", show_default=True, help="The folder in which tools/fetch_peers has put libcoap."
)
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def sessions(
    names: tuple[str, ...],
    directory: str,
    rounds: int,
    seconds: float,
    open_seconds: float,
    window: int,
    count: int,
    many: int,
    quick: bool,
    peers: str,
    markdown: bool,
    as_json: bool,
) -> int:
    """Measure what a report under OSCORE costs this server and its peers.

    A report is a protected POST with one property; every protected answer is verified. This server makes each report
    durable (SQLite with synchronous=FULL) before it answers, and its store must have them all in the end; its peers
    keep nothing. All is compared with what is promised. It takes about 20 minutes and 2 GB of disk.

    Exit status 1: an answer was wrong or missing, a named --contender is not there, or, without --quick, a promise does
    not hold.
    """
    place = durable_place(directory)
    settings = Settings(rounds=rounds, seconds=seconds, open_seconds=open_seconds, window=window, warm_up=2_000)
    counts = {OURS: count, UNCOMMITTED: count, FEW: 1_000, MANY: many}
    if quick:
        settings = replace(settings, rounds=1, seconds=0.2, open_seconds=0.2, warm_up=200)
        counts = {OURS: 5_000, UNCOMMITTED: 5_000, FEW: 500, MANY: 2_000}
    with tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=place) as name:
        report = _measure(Places(Path(name), Path(peers), counts), names, settings)
    if as_json:
        terminal.print_json(asdict(report))
    else:
        out = terminal.console()
        out.print(table(report, markdown=markdown))
        if report.limits and not quick:
            out.print(limits_table(report, markdown=markdown))
        click.echo(machine.sentence(report.machine))
        for what, why in report.missing.items():
            click.echo(f"{what} was not measured: {why}")
    for cell in report.cells:
        if cell.median.faults:
            click.echo(f"dpe: error: {cell.contender}: {cell.median.faults} reports went wrong", err=True)
    broken = [limit for limit in report.limits if not limit.holds and not quick]
    for limit in broken:
        click.echo(f"dpe: error: {limit.name}: {limit.found:.3g}, more than {limit.most:.3g}", err=True)
    return 1 if broken or report.faults else 0


def _measure(places: Places, names: Sequence[str], settings: Settings) -> Report:
    """Do all rounds."""
    contenders: list[SessionContender] = []
    missing: dict[str, str] = {}
    for name in dict.fromkeys(names) or CONTENDERS:
        try:
            contenders.append(CONTENDERS[name](places))
        except Missing as error:
            if names:
                raise
            missing[name] = f"{error} ({error.hint})"
    cores = Cores.here()
    rig = Rig(settings, generator.build(places.folder), cores, places.folder / "log")
    samples: dict[tuple[str, int], list[Sample]] = {}
    for number in range(1, settings.rounds + 1):
        for contender in contenders:
            sample = rig.measure(contender)
            samples.setdefault((contender.name, contender.sessions), []).append(sample)
            _tell(f"round {number}, {contender.name}: {sample.cpu:.1f} µs of CPU a report")
    if cores.server is None:
        _tell("this machine has one core: the load generator disturbs the servers")
    versions = {contender.name: contender.version for contender in contenders}
    return Report.of(machine.describe(), versions, settings, samples, missing)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
