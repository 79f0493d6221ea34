"""The report as tables, for a terminal and for Markdown."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpe_bench.device.codecs import FAULTY
from dpe_bench.device.costs import ACK_TIMEOUT
from dpe_bench.device.measuring import Report
from dpe_tools.board_measuring import FREE_FOR_REPORTS

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, the rows, and what must be known to read them."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def tables(report: Report) -> list[Table]:
    """Return all that was found."""
    found = [_costs(report), _loss(report), _forged(report), _readers(report), _modules(report)]
    if report.board:
        rows = [[suite, f"{cost.instructions:,}", f"{cost.heap:,}"] for suite, cost in report.board.items()]
        note = "dpe-coap on the emulated Cortex-M3, with its code in flash; the peers were not run there."
        found += [Table("On a 32-bit board", ["", "instructions", "free heap, bytes"], rows, note), _reports(report)]
    rows = [[one.name, one.what, one.code, one.memory, one.source] for one in report.published]
    note = "Other protocols, in C, on other machines: for scale, not for comparison."
    found.append(Table("Read, not measured", ["client", "what it is", "code", "memory", "source"], rows, note))
    if report.not_measured:
        missing = [[name, how] for name, how in report.not_measured.items()]
        found.append(Table("Not measured in this run", ["", "how to"], missing))
    return found


def _costs(report: Report) -> Table:
    columns = ["client", "code of CoAP and sockets", "code, all", "least heap", "instructions", "bytes on the wire"]
    rows = []
    for result in report.results:
        contender = result.contender
        counted = "not measured" if result.costs.instructions is None else f"{result.costs.instructions:,}"
        sizes = [f"{size:,}" for size in (contender.coap_code, contender.code, result.costs.heap)]
        rows.append([f"{contender.name} ({contender.version})", *sizes, counted, str(result.costs.wire)])
    note = (
        "Code is bytes of .mpy (mpy-cross -O2). The least heap is that of a 64-bit interpreter, in bytes, with the code"
        f" in it, for three registrations in a row; an empty program needs {report.idle_heap:,}. Instructions are this"
        " machine's, for one registration, once everything is loaded. Bytes are those above UDP, both ways."
    )
    return Table("A registration", columns, rows, note)


def _loss(report: Report) -> Table:
    settings = report.settings
    rows = [
        [result.contender.name, *(f"{one.registered} of {one.tried}" for one in result.loss.values())]
        for result in report.results
    ]
    note = (
        f"ACK_TIMEOUT was {settings.ack_timeout} ms for all, for CoAP's {ACK_TIMEOUT} ms; seed {settings.seed}. A"
        " registration counts when the server's store holds a session with the Client ID that the client reports."
    )
    columns = ["client", *(f"{loss} % lost" for loss in settings.loss)]
    return Table("Registered over a lossy link", columns, rows, note)


def _forged(report: Report) -> Table:
    kinds = list(report.results[0].forged)
    rows = []
    for result in report.results:
        cells = [f"{one.taken} of {one.sent} taken, {one.lost} lost" for one in result.forged.values()]
        believed = sum(one.believed for one in result.forged.values())
        rows.append([result.contender.name, *cells, str(believed)])
    note = (
        f"{report.settings.forged} registrations of each kind; before each true answer came a forged one, with a bad"
        " security token and a header as the column says. Taken: the CoAP layer passed it on as the response. Lost: the"
        " registration failed for it. Believed: it ended with a Client ID that the server never gave."
    )
    return Table("Forged answers", ["client", *kinds, "believed"], rows, note)


def _readers(report: Report) -> Table:
    rows = []
    for reader in report.readers:
        counted = "not measured" if reader.instructions is None else f"{reader.instructions:,}"
        name = f"{reader.name} ({reader.version})"
        accepts = f"{len(reader.accepts)} of {len(FAULTY)}"
        if reader.accepts:
            accepts += ": " + ", ".join(reader.accepts)
        rows.append([name, f"{reader.code:,}", reader.scope, counted, accepts])
    columns = ["reader", "code", "what that is", "instructions", "faulty encodings accepted"]
    return Table("CBOR", columns, rows, "Instructions are those to read what a client receives, RESPONSE and CONFIRM.")


def _modules(report: Report) -> Table:
    rows = [[name, f"{size:,}"] for name, size in report.modules.items()]
    return Table(
        "Modules", ["module", "code"], rows, "Bytes of .mpy (mpy-cross -O2). An application takes what it uses."
    )


def _reports(report: Report) -> Table:
    rows = [[f"AES in {aes}", f"{cost.first:,}", f"{cost.later:,}"] for aes, cost in report.reports.items()]
    note = (
        "Instructions of the same board for a report of six properties and its answer. The first one derives the keys,"
        " saves a block of numbers and is told six policies; the answer to a later one is empty. AES in C is Mbed TLS's"
        f" through cryptolib, AES in Python is dpe_device.aes. {FREE_FOR_REPORTS:,} bytes of heap were free."
    )
    return Table("A report on this board", ["", "the first", "a later one"], rows, note)


def heading(report: Report) -> str:
    """Say what was measured on what."""
    return f"{report.interpreter}, unix port, on {report.machine}; {report.settings.registrations} registrations a cell"


def show(report: Report, out: "Console") -> None:
    """Print the tables on a terminal."""
    from rich import box
    from rich.table import Table as Shown

    out.print(heading(report), style="bold")
    for table in tables(report):
        shown = Shown(title=table.title, caption=table.note or None, box=box.SIMPLE_HEAD, title_justify="left")
        for number, column in enumerate(table.columns):
            shown.add_column(column, no_wrap=number == 0)
        for row in table.rows:
            shown.add_row(*row)
        out.print()
        out.print(shown)


def markdown(report: Report) -> str:
    """Return the tables in Markdown."""
    parts = [f"{heading(report)}."]
    for table in tables(report):
        lines = [_line(table.columns), _line("---" for _ in table.columns), *map(_line, table.rows)]
        parts += [f"### {table.title}", "\n".join(lines)]
        if table.note:
            parts.append(table.note)
    return "\n\n".join(parts) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
