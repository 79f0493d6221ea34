"""`dpe bench rows`: what a registration costs as the store grows."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from dpe_bench import machine, plot
from dpe_bench.rows_fill import BATCH, Rows
from dpe_bench.rows_measure import FULL, QUICK, Effort, Sample, measure
from dpe_bench.rows_report import Report, draw, table
from dpe_coap.errors import LocalError
from dpe_server.operation.state_dir import StateDir
from dpe_tools import terminal

FIRST = 10_000
"""Rows at which it is measured first; then at each power of ten."""
MILLION = 1_000_000
ROOM = 1_000
"""Bytes of disk for a row: the database, and its write-ahead log while it is filled."""


@click.command()
@click.option(
    "--rows",
    type=click.IntRange(1_000, 10**8),
    default=10**6,
    show_default=True,
    metavar="N",
    help="The last number of rows.",
)
@click.option(
    "--directory", default=".", show_default=True, help="A folder on a disk, for the store, which is removed."
)
@click.option("--quick", is_flag=True, help="Do few registrations, to see that it works, not to measure.")
@click.option("--plot", "picture", metavar="FILE", help="Draw the result as SVG.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was measured as JSON.")
def rows(rows: int, directory: str, quick: bool, picture: str | None, markdown: bool, as_json: bool) -> None:
    """Fill the server's store with N registered devices, and measure at 10,000 rows, 100,000 and so on up to N.

    Devices with the real client's cryptography register within this process, some new, some with a session already.
    Each must end REGISTERED with its row in the store. Then look-ups, the start of a server, `dpe device show` and
    pruning are measured, all on the same store.
    """
    if picture is not None:
        plot.check()
    place = Path(directory)
    if not place.is_dir():
        raise LocalError(f"{directory}: there is no such directory", hint="give --directory DIR")
    if shutil.disk_usage(place).free < rows * ROOM:
        raise LocalError(
            f"{rows:,} rows need about {rows * ROOM / 1e9:.1f} GB of disk, and {directory} has less",
            hint="give less --rows, or another --directory",
        )
    with tempfile.TemporaryDirectory(prefix="dpe-bench-", dir=place) as scratch:
        samples = list(_measure(Path(scratch), rows, QUICK if quick else FULL))
    report = Report({**machine.describe(), "file system": machine.file_system(place)}, samples)
    if picture is not None:
        draw(report, Path(picture))
    if as_json:
        terminal.print_json(asdict(report))
    else:
        terminal.console().print(table(report, markdown=markdown))


def _measure(scratch: Path, rows: int, effort: Effort) -> Iterator[Sample]:
    """Fill and measure in turns."""
    state = StateDir.create(scratch / "state", "bench", "coap://127.0.0.1:5683")
    store = Rows(state)
    for size in sizes(rows):
        rate = store.fill(size, _tell_rows)
        sample = measure(store, rate, effort, scratch / "server.log")
        _tell(f"{size:,} rows: {sample.new_rate:,.0f} registrations a second, {sample.row_bytes:.0f} bytes a row")
        yield sample


def sizes(rows: int) -> list[int]:
    """Return the numbers of rows to measure at."""
    powers = [10**exponent for exponent in range(4, 9) if FIRST <= 10**exponent < rows]
    return [*powers, rows]


def _tell_rows(now: int) -> None:
    if now % MILLION < BATCH <= now:
        _tell(f"{now:,} rows")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
