"""`dpe bench server`: the server's lane beside other CoAP servers, all with the same job."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from dpe_bench import generator, machine, plot
from dpe_bench.contenders import CONTENDERS, Contender
from dpe_bench.native import Missing
from dpe_bench.process import Cores
from dpe_bench.transport import Sample, Settings, measure
from dpe_bench.transport_report import Report, draw, table
from dpe_tools import terminal

ENDPOINTS = (64, 65_536, 1_000_000)
QUICK = (64, 4_096)


@click.command()
@click.option("--endpoints", type=click.IntRange(1, 16_000_000), multiple=True, help="How many endpoints. Repeatable.")
@click.option(
    "--contender",
    "names",
    type=click.Choice(list(CONTENDERS)),
    multiple=True,
    help="Measure only this server. Repeatable.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="How many rounds; the median counts."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=4.0, show_default=True, help="Length of each closed loop."
)
@click.option(
    "--open-seconds", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Length of each open loop."
)
@click.option(
    "--fill-seconds",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="The most time to let every endpoint come once before the measurement.",
)
@click.option("--window", type=click.IntRange(1, 4096), default=64, show_default=True, help="Requests under way.")
@click.option("--quick", is_flag=True, help="Send a few thousand requests each, to see that it works, not to measure.")
@click.option(
    "--peers",
    default=".cache/peers",
    show_default=True,
    help="The folder in which tools/fetch_peers has put node-coap.",
)
@click.option("--plot", "picture", metavar="FILE", help="Draw the result as SVG.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def server(
    endpoints: tuple[int, ...],
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    open_seconds: float,
    fill_seconds: float,
    window: int,
    quick: bool,
    peers: str,
    picture: str | None,
    markdown: bool,
    as_json: bool,
) -> int:
    """Measure what a request costs this server and its peers, each doing the same job.

    The job is to decode a CBOR map of three fields, verify one HMAC-SHA-256, make another, and encode the answer. Every
    answer is verified. Each server has a core to itself, and the load generator another. The servers take turns, so
    that other work on the machine affects all alike. All of it takes about 40 minutes.

    Exit status 1: an answer was wrong or missing, or a named --contender is not there.
    """
    if picture is not None:
        plot.check()
    settings = Settings(
        rounds=rounds, seconds=seconds, open_seconds=open_seconds, fill_seconds=fill_seconds, window=window
    )
    if quick:
        settings = replace(settings, rounds=1, seconds=0.3, open_seconds=0.3, fill_seconds=1, warm_up=500)
    endpoints = endpoints or (QUICK if quick else ENDPOINTS)
    with tempfile.TemporaryDirectory(prefix="dpe-bench-") as name:
        report = _measure(Path(name), Path(peers), sorted(set(endpoints)), names, settings)
    if picture is not None:
        draw(report, Path(picture))
    if as_json:
        terminal.print_json(asdict(report))
    else:
        terminal.console().print(table(report, markdown=markdown))
        click.echo(machine.sentence(report.machine))
        for what, why in report.missing.items():
            click.echo(f"{what} was not measured: {why}")
    for cell in report.cells:
        if cell.median.faults:
            click.echo(f"dpe: error: {cell.contender}: {cell.median.faults} requests were not answered right", err=True)
    return 1 if any(cell.median.faults for cell in report.cells) else 0


def _measure(folder: Path, peers: Path, endpoints: Sequence[int], names: Sequence[str], settings: Settings) -> Report:
    """Do all rounds."""
    cores = Cores.here()
    program = generator.build(folder)
    contenders: list[Contender] = []
    missing: dict[str, str] = {}
    for name in dict.fromkeys(names) or CONTENDERS:
        try:
            contenders.append(CONTENDERS[name](folder, peers))
        except Missing as error:
            if names:
                raise
            missing[name] = f"{error} ({error.hint})"
    samples: dict[tuple[int, str], list[Sample]] = {}
    for number in range(1, settings.rounds + 1):
        for count in endpoints:
            for contender in contenders:
                sample = measure(contender, count, settings, program, cores, folder / "log")
                samples.setdefault((count, contender.name), []).append(sample)
                _tell(f"round {number}, {count:,} endpoints, {contender.name}: {sample.cpu:.1f} µs of CPU a request")
    if cores.server is None:
        _tell("this machine has one core: the load generator disturbs the servers")
    versions = {contender.name: contender.version for contender in contenders}
    return Report.of(machine.describe(), versions, settings, samples, missing)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
