"""`dpe bench registrations`: complete registrations a second, with all of DPE-1's cryptography."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import click

from dpe_bench import generator, machine, plot, transport
from dpe_bench.contenders import AIOCOAP, CONTENDERS, ECHO, OURS
from dpe_bench.limits import complain, limits_table
from dpe_bench.process import Cores
from dpe_bench.registration_report import DURABLE, Report, draw, stages_table, table
from dpe_bench.registration_run import Fleet, Profile, Rig, Sample, Settings, measure, measure_echo, profile
from dpe_bench.transport_report import WORDS
from dpe_coap.errors import LocalError
from dpe_tools import terminal

SERVERS = {OURS: ("lane", 1), "this server, 2 workers": ("lane", 2), AIOCOAP: ("aiocoap", 1)}
"""By name: the kind of server and its worker processes."""
NAMES = (*SERVERS, ECHO)
MEMORY = Path("/dev/shm")  # noqa: S108  # Linux's file system in memory; a folder of our own is made there
IN_MEMORY = ("tmpfs", "ramfs")


@click.command()
@click.option(
    "--server", "names", type=click.Choice(NAMES), multiple=True, help="Measure only this server. Repeatable."
)
@click.option("--directory", default=".", show_default=True, help="A folder on a disk, for the durable store.")
@click.option("--durable-only", is_flag=True, help="Leave out the store in memory.")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="How many rounds; the median counts."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=6.0, show_default=True, help="Length of each measurement."
)
@click.option("--window", type=click.IntRange(1, 4096), default=128, show_default=True, help="Registrations under way.")
@click.option(
    "--devices", type=click.IntRange(1, 1_000_000), default=200_000, show_default=True, help="How many devices."
)
@click.option("--stages", is_flag=True, help="Show where this server's CPU time goes.")
@click.option("--quick", is_flag=True, help="Register some hundred devices each, to see that it works, not to measure.")
@click.option("--plot", "picture", metavar="FILE", help="Draw the result as SVG.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def registrations(
    names: tuple[str, ...],
    directory: str,
    durable_only: bool,
    rounds: int,
    seconds: float,
    window: int,
    devices: int,
    stages: bool,
    quick: bool,
    picture: str | None,
    markdown: bool,
    as_json: bool,
) -> int:
    """Measure complete registrations: this server, and the same registrar behind stock aiocoap.

    Devices, each with its own keys, send REQUEST, verify RESPONSE, send SUCCESS and verify CONFIRM. In the end each is
    looked up in the store, which must hold its Client ID. The store is SQLite with synchronous=FULL, first on a disk,
    then on a file system in memory, which shows what the disk costs. What is found is compared with what is promised,
    by the C echo of `dpe bench server`, which runs in each round.

    Exit status 1: an answer was wrong or missing, a device is not in the store with its Client ID, or, without --quick,
    a promise does not hold.
    """
    if picture is not None:
        plot.check()
    settings = Settings(rounds=rounds, seconds=seconds, window=window, devices=devices)
    if quick:
        settings = replace(settings, rounds=1, seconds=0.3, devices=min(devices, 2_000))
    stores = _stores(durable_place(directory), durable_only=durable_only)
    report = _measure(stores, tuple(dict.fromkeys(names)) or NAMES, settings, stages=stages)
    if picture is not None:
        draw(report, Path(picture))
    limits = () if quick else report.limits
    if as_json:
        terminal.print_json(asdict(report))
    else:
        out = terminal.console()
        if report.cells:
            out.print(table(report, markdown=markdown))
        if report.profile is not None:
            out.print(stages_table(report.profile, markdown=markdown))
        if limits:
            out.print(limits_table(limits, markdown=markdown))
        if report.echo is not None:
            click.echo(f"A request took the C echo {report.echo.cpu:.1f} µs of CPU, p50 {report.echo.p50:,.0f} µs.")
        click.echo(machine.sentence(report.machine))
    for cell in report.cells:
        if cell.median.faults:
            click.echo(f"dpe: error: {cell.server}: {cell.median.faults} registrations went wrong", err=True)
    if report.echo is not None and report.echo.faults:
        click.echo(f"dpe: error: {ECHO}: {report.echo.faults} {WORDS.wrong}", err=True)
    status = complain(limits)
    return 1 if report.faults else status


def durable_place(directory: str) -> Path:
    """Return the folder for a durable store; LocalError when it is in memory."""
    place = Path(directory)
    kind = machine.file_system(place)
    if kind in IN_MEMORY:
        raise LocalError(f"{directory} is in memory ({kind}): nothing is durable there", hint="give --directory DIR")
    return place


def _stores(directory: Path, *, durable_only: bool) -> dict[str, Path]:
    """Return the folders for the store, by what a reader is told of them."""
    stores = {f"{DURABLE}, on {machine.file_system(directory)}": directory}
    if not durable_only and machine.file_system(MEMORY) in IN_MEMORY:
        stores["in memory"] = MEMORY
    return stores


def _measure(stores: Mapping[str, Path], names: Sequence[str], settings: Settings, *, stages: bool) -> Report:
    """Do all rounds."""
    servers = [name for name in names if name in SERVERS]
    found: Profile | None = None
    samples: dict[tuple[str, str], list[Sample]] = {}
    echoes: list[transport.Sample] = []
    with tempfile.TemporaryDirectory(prefix="dpe-bench-") as scratch_folder:
        scratch = Path(scratch_folder)
        made = Fleet.make(scratch, settings.devices)
        rig = Rig(settings, made, generator.build(scratch), Cores.here(), scratch / "log")
        echo = CONTENDERS[ECHO](scratch, scratch) if ECHO in names else None
        for number in range(1, settings.rounds + 1):
            if echo is not None:
                echoes.append(measure_echo(rig, echo))
                print(f"round {number}, C echo: {echoes[-1].cpu:.1f} µs of CPU a request", file=sys.stderr, flush=True)
            for store, directory in stores.items():
                for name in servers:
                    kind, workers = SERVERS[name]
                    with tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=directory) as folder:
                        sample = measure(rig, Path(folder), kind, workers)
                    samples.setdefault((store, name), []).append(sample)
                    rate = f"{sample.rate:,.0f} registrations a second"
                    print(f"round {number}, {store}, {name}: {rate}", file=sys.stderr, flush=True)
        if stages:
            with tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=next(iter(stores.values()))) as folder:
                found = profile(rig, Path(folder))
    return Report.of({**machine.describe(), "aiocoap": version("aiocoap")}, settings, samples, echoes, found)
