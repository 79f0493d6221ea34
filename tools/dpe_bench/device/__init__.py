"""`dpe bench device`: the device client beside its peers, on one MicroPython, over one lossy link, with one server."""

import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from dpe_bench.device import interpreter, tables
from dpe_bench.device.measuring import Peers, Settings, check, measure
from dpe_coap.errors import LocalError
from dpe_tools import terminal

BEGIN, END = "<!-- begin: dpe bench device -->\n", "<!-- end: dpe bench device -->\n"
"""What stands around the tables in a document."""

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option(
    "-n", "--registrations", default=300, show_default=True, type=click.IntRange(1), help="How many at each loss."
)
@click.option(
    "--loss", "losses", multiple=True, type=click.IntRange(0, 90), default=[0, 10, 20, 30], show_default=True,
    metavar="PERCENT", help="Loss of datagrams in each direction. Repeatable.",
)  # fmt: skip
@click.option("--forged", default=100, show_default=True, type=click.IntRange(1), help="Registrations of each kind.")
@click.option("--seed", default=1, show_default=True, metavar="N", help="Which datagrams the lossy link loses.")
@click.option(
    "--ack-timeout", default=50, show_default=True, type=click.IntRange(10, 10_000), metavar="MS",
    help="ACK_TIMEOUT on the lossy link, for all clients. CoAP's default is 2000.",
)  # fmt: skip
@click.option("--microcoapy", type=_FOLDER, help="A checkout of microCoAPy.")
@click.option("--cbor2", type=_FOLDER, help="The folder python-ecosys/cbor2 of micropython-lib.")
@click.option("--board", type=_FILE, metavar="FIRMWARE", help="Measure the emulated board, too.")
@click.option("--micropython", envvar="DPE_MICROPYTHON", metavar="PROGRAM", help="The MicroPython interpreter.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--update", type=_FILE, metavar="DOCUMENT", help="Replace the tables in a document, too.")
def device(
    registrations: int,
    losses: tuple[int, ...],
    forged: int,
    seed: int,
    ack_timeout: int,
    microcoapy: Path | None,
    cbor2: Path | None,
    board: Path | None,
    micropython: str | None,
    as_json: bool,
    as_markdown: bool,
    update: Path | None,
) -> None:
    """Register devices with our client and with its peers, on the unix port of MicroPython.

    It measures code size, heap, instructions, bytes on the wire, success over a lossy link, and forged answers. The
    server and its database are real, and a registration counts only when the database has it. A peer whose sources are
    not given is listed as not measured, with the way to get them.
    """
    signal.signal(signal.SIGTERM, _terminated)
    around = _around(update) if update else None
    settings = Settings(registrations, tuple(dict.fromkeys(losses)), forged, seed, ack_timeout)
    program = interpreter.find(micropython)
    with tempfile.TemporaryDirectory(prefix="dpe-bench-") as folder:
        peers = Peers(microcoapy, cbor2, board)
        report = measure(
            interpreter.Interpreter(program, Path(folder)), peers, settings, lambda text: click.echo(text, err=True)
        )
    if as_json:
        terminal.print_json(asdict(report))
    elif as_markdown:
        click.echo(tables.markdown(report), nl=False)
    else:
        tables.show(report, terminal.console())
    if update and around:
        before, after = around
        update.write_text(f"{before}{BEGIN}\n{tables.markdown(report)}\n{END}{after}", encoding="utf-8")
    check(report)


def _around(document: Path) -> tuple[str, str]:
    """Return what stands before and after the tables of a document; LocalError if it has no place for them."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LocalError(
            f"{document} has no place for the tables",
            hint=f"put these two lines into it: {BEGIN.strip()} {END.strip()}",
        )
    return before, after


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End as Ctrl-C does, so that the server and the devices are stopped and the directory removed."""
    sys.exit(143)
