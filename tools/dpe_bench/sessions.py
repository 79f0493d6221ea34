"""`dpe bench sessions`: reports under OSCORE, durable, beside the OSCORE servers of other CoAP libraries."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dpe_bench import generator, machine
from dpe_bench.comparison import Given, Settings, options, ready, show, take_turns
from dpe_bench.contenders import OURS
from dpe_bench.process import Cores
from dpe_bench.registrations import durable_place
from dpe_bench.session_contenders import CONTENDERS, FEW, MANY, UNCOMMITTED, Places
from dpe_bench.session_report import MILLION, WORDS, Report, limits, table
from dpe_bench.session_run import Rig


@click.command()
@click.option("--directory", default=".", show_default=True, help="A folder on a disk, for the durable store.")
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
@options(CONTENDERS, WORDS, seconds=6.0, window=128, peer="libcoap")
def sessions(directory: str, count: int, many: int, **common: Any) -> int:
    """Measure what a report under OSCORE costs this server and its peers.

    A report is a protected POST with one property; every protected answer is verified. This server makes each report
    durable (SQLite with synchronous=FULL) before it answers, and its store must have them all in the end; its peers
    keep nothing. All is compared with what is promised. It takes about 20 minutes and 2 GB of disk.

    Exit status 1: an answer was wrong or missing, a named --contender is not there, or, without --quick, a promise does
    not hold.
    """
    given = Given(**common)
    place = durable_place(directory)
    settings = Settings(
        rounds=given.rounds, seconds=given.seconds, open_seconds=given.open_seconds, window=given.window, warm_up=2_000
    )
    counts = {OURS: count, UNCOMMITTED: count, FEW: 1_000, MANY: many}
    if given.quick:
        settings = replace(settings, rounds=1, seconds=0.2, open_seconds=0.2, warm_up=200)
        counts = {OURS: 5_000, UNCOMMITTED: 5_000, FEW: 500, MANY: 2_000}
    with tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=place) as name:
        report = _measure(Places(Path(name), Path(given.peers), counts), given, settings)
    return show(report, WORDS, table(report, markdown=given.markdown), given)


def _measure(places: Places, given: Given, settings: Settings) -> Report:
    """Do all rounds."""
    contenders, missing = ready(given.names, CONTENDERS, places)
    cores = Cores.here()
    rig = Rig(settings, generator.build(places.folder), cores, places.folder / "log")
    cases = [(contender, contender.sessions) for contender in contenders]
    cells = take_turns(cases, settings.rounds, cores, WORDS, rig.measure)
    versions = {contender.name: contender.version for contender in contenders}
    medians = {cell.contender: cell.median for cell in cells}
    found = limits(medians, {contender.name: contender.sessions for contender in contenders})
    return Report(machine.describe(), versions, settings, cells, missing, found)
