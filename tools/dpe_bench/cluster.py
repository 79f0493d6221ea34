"""`dpe bench cluster`: the store on PostgreSQL with a synchronous standby, beside SQLite, and as it grows."""

import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from dpe_bench import cluster_rows, cluster_run, cluster_stores, generator, machine, plot
from dpe_bench.cluster_report import Report, draw, tables
from dpe_bench.cluster_stores import POSTGRESQL, SQLITE
from dpe_bench.process import Cores
from dpe_bench.registration_run import Fleet, Rig, Settings
from dpe_bench.registrations import durable_place
from dpe_bench.rows import sizes
from dpe_bench.rows_measure import FULL, QUICK
from dpe_coap.errors import LocalError
from dpe_tools import terminal
from dpe_tools.cluster import group
from dpe_tools.cluster.group import Group
from dpe_tools.cluster.instance import needed_programs

PROCESSES = (1, 2, 4)
BATCHES = 300
DATABASE = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""Settings of the database, beside those that make it wait for its standby."""
SEGMENT = 64
"""MB of WAL in a file: PostgreSQL's own choice, 16, is for less."""
WINDOW = 128
DEVICES = 100_000
ROOM = 1_600
"""Bytes of disk for a device: its row on the primary and on the standby, and the WAL."""


@click.command()
@click.option("--directory", default=".", show_default=True, help="A folder on a disk, for both stores.")
@click.option(
    "--devices",
    type=click.IntRange(1_000, 10**8),
    metavar="N",
    help="Instead of both comparisons: fill the store on PostgreSQL with N devices, and measure on the way.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="How many rounds; the median counts."
)
@click.option("--seconds", type=click.FloatRange(0.1), default=6.0, show_default=True, help="Length of each load.")
@click.option("--quick", is_flag=True, help="Do little, to see that it works, not to measure.")
@click.option("--plot", "picture", metavar="FILE", help="With --devices: draw the result as SVG.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def cluster(
    directory: str,
    devices: int | None,
    rounds: int,
    seconds: float,
    quick: bool,
    picture: str | None,
    markdown: bool,
    as_json: bool,
) -> int:
    """Measure the store on PostgreSQL, which waits for a standby on the same machine, beside SQLite.

    First the stores alone: 1, 2 and 4 processes commit batches of 100 sessions. Then a server from end to end: devices,
    each with its own keys, register completely. Both stores take turns, on one disk. In the end everything is looked up
    in the store. With --devices, the store on PostgreSQL is filled, and measured at 10,000 devices, 100,000 and so on.

    It starts its own PostgreSQL, and needs only Debian's package postgresql.

    Exit status 1: an answer was wrong or missing, or something is not in the store as it was answered.
    """
    if picture is not None:
        if devices is None:
            raise click.UsageError("--plot goes with --devices")
        plot.check()
    place = durable_place(directory)
    if devices is not None and shutil.disk_usage(place).free < devices * ROOM:
        raise LocalError(
            f"{devices:,} devices need about {devices * ROOM / 1e9:.1f} GB of disk, and {directory} has less",
            hint="give less --devices, or another --directory",
        )
    facts: dict[str, str] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=place)))
        database = _database(stack, place, facts)
        if devices is None:
            settings = Settings(rounds=rounds, seconds=seconds, window=WINDOW, devices=DEVICES)
            batches = BATCHES
            if quick:
                settings, batches = Settings(rounds=1, seconds=0.3, window=WINDOW, devices=2_000), 2
            report = _compare(database, scratch, settings, batches, facts)
        else:
            report = _grow(database, scratch, devices, quick=quick, facts=facts)
    if picture is not None:
        draw(report, Path(picture))
    if as_json:
        terminal.print_json(asdict(report))
    else:
        out = terminal.console()
        for table in tables(report, markdown=markdown):
            out.print(table)
        click.echo(machine.sentence(report.machine))
    if report.faults:
        click.echo(f"dpe: error: {report.faults} sessions or registrations went wrong", err=True)
    return 1 if report.faults else 0


def _database(stack: ExitStack, place: Path, facts: dict[str, str]) -> Group:
    """Start a primary and its standby in a folder of ``place``, which their user must reach; LocalError."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpe-pg-", dir=place)))
    try:
        made = stack.enter_context(
            group.running(needed_programs(), folder, standbys=1, settings=DATABASE, segment=SEGMENT)
        )
    except PermissionError:
        raise LocalError(
            f"PostgreSQL, which does not run as root, cannot reach {place}", hint="give another --directory"
        ) from None
    ((version,),) = made.primary.sql("SHOW server_version")
    facts.update({**machine.describe(), "PostgreSQL": version.split()[0], "file system": machine.file_system(place)})
    return made


def _compare(database: Group, scratch: Path, settings: Settings, batches: int, facts: Mapping[str, str]) -> Report:
    """Let both stores take turns."""
    stores: dict[tuple[str, int], list[cluster_stores.Sample]] = {}
    runs: dict[str, list[cluster_run.Sample]] = {}
    rigs = _rigs(database, scratch, settings)
    for number in range(1, settings.rounds + 1):
        for processes in PROCESSES:
            with (
                tempfile.TemporaryDirectory(dir=scratch) as folder,
                cluster_stores.sqlite(Path(folder)) as in_file,
                cluster_stores.postgresql(database, f"alone{number}_{processes}") as in_database,
            ):
                for name, url in ((SQLITE, in_file), (POSTGRESQL, in_database)):
                    used = database if name == POSTGRESQL else None
                    sample = cluster_stores.measure(url, processes, batches, used)
                    stores.setdefault((name, processes), []).append(sample)
                    _tell(f"round {number}, {name}, {processes} processes: {sample.rate:,.0f} sessions a second")
        for name, rig in rigs.items():
            run = cluster_run.measure(rig, scratch, database if name == POSTGRESQL else None)
            runs.setdefault(name, []).append(run)
            _tell(f"round {number}, {name}, end to end: {run.rate:,.0f} registrations a second")
    return Report.compared(facts, settings.rounds, stores, runs)


def _rigs(database: Group, scratch: Path, settings: Settings) -> dict[str, Rig]:
    """Return what is needed to measure each from end to end."""
    program, cores, log = generator.build(scratch), Cores.here(), scratch / "log"
    fleets = {
        SQLITE: Fleet.make(scratch, settings.devices),
        POSTGRESQL: cluster_run.shared_fleet(scratch / "shared", database, settings.devices),
    }
    return {name: Rig(settings, made, program, cores, log) for name, made in fleets.items()}


def _grow(database: Group, scratch: Path, devices: int, *, quick: bool, facts: Mapping[str, str]) -> Report:
    rows = cluster_rows.found(scratch, database)
    grown = []
    for sample in cluster_rows.samples(rows, database, sizes(devices), QUICK if quick else FULL, scratch / "log"):
        _tell(f"{sample.rows:,} devices: {sample.new_rate:,.0f} registrations a second")
        grown.append(sample)
    return Report(facts, 1, grown=grown)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
