"""`dpe bench server`: the server's lane beside other CoAP servers, all with the same job."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from dpe_bench import generator, machine, plot
from dpe_bench.comparison import Given, options, ready, show, take_turns
from dpe_bench.contenders import CONTENDERS
from dpe_bench.process import Cores
from dpe_bench.transport import Settings, measure
from dpe_bench.transport_report import WORDS, Report, draw, limits, table

ENDPOINTS = (64, 65_536, 1_000_000)
QUICK = (64, 4_096)


@click.command()
@click.option("--endpoints", type=click.IntRange(1, 16_000_000), multiple=True, help="How many endpoints. Repeatable.")
@click.option(
    "--fill-seconds",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="The most time to let every endpoint come once before the measurement.",
)
@click.option("--plot", "picture", metavar="FILE", help="Draw the result as SVG.")
@options(CONTENDERS, WORDS, seconds=4.0, window=64, peer="node-coap")
def server(endpoints: tuple[int, ...], fill_seconds: float, picture: str | None, **common: Any) -> int:
    """Measure what a request costs this server and its peers, each doing the same job.

    The job is to decode a CBOR map of three fields, verify one HMAC-SHA-256, make another, and encode the answer. Every
    answer is verified. Each server has a core to itself, and the load generator another. The servers take turns, so
    that other work on the machine affects all alike. What is found is compared with what is promised. All of it takes
    about 40 minutes.

    Exit status 1: an answer was wrong or missing, a named --contender is not there, or, without --quick, a promise does
    not hold.
    """
    given = Given(**common)
    if picture is not None:
        plot.check()
    settings = Settings(
        rounds=given.rounds, seconds=given.seconds, open_seconds=given.open_seconds, fill_seconds=fill_seconds,
        window=given.window,
    )  # fmt: skip
    if given.quick:
        settings = replace(settings, rounds=1, seconds=0.3, open_seconds=0.3, fill_seconds=1, warm_up=500)
    endpoints = endpoints or (QUICK if given.quick else ENDPOINTS)
    with tempfile.TemporaryDirectory(prefix="dpe-bench-") as name:
        report = _measure(Path(name), given, sorted(set(endpoints)), settings)
    if picture is not None:
        draw(report, Path(picture))
    return show(report, WORDS, table(report, markdown=given.markdown), given)


def _measure(folder: Path, given: Given, endpoints: Sequence[int], settings: Settings) -> Report:
    """Do all rounds."""
    cores = Cores.here()
    program = generator.build(folder)
    contenders, missing = ready(given.names, CONTENDERS, folder, Path(given.peers))
    take = partial(measure, settings=settings, program=program, cores=cores, log=folder / "log")
    cases = [(contender, count) for count in endpoints for contender in contenders]
    cells = take_turns(cases, settings.rounds, cores, WORDS, take)
    versions = {contender.name: contender.version for contender in contenders}
    return Report(machine.describe(), versions, settings, cells, missing, limits(cells))
