"""IMEIs as commands accept them: arguments, a CSV file, standard input. Errors name the row, never a digit."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_server.operation.provisioning import Row, read_imeis


def sources(command: click.decorators.FC) -> click.decorators.FC:
    """Add the argument and the options that name IMEIs; ``rows`` reads what they give."""
    command = click.option("--stdin", is_flag=True, help="Read IMEIs from standard input.")(command)
    command = click.option(
        "--csv", metavar="FILE", help="Read IMEIs from FILE: one per line, or CSV with a column `imei`."
    )(command)
    return click.argument("imei", nargs=-1, metavar="[IMEI]...")(command)


def rows(imei: tuple[str, ...], csv: str | None, stdin: bool) -> Iterator[Row]:
    """Return the rows of the given source. Raises UsageError unless there is exactly one source."""
    if imei == ("-",) or csv == "-":
        imei, csv, stdin = (), None, True
    if bool(imei) + (csv is not None) + stdin != 1:
        raise click.UsageError("give IMEIs as arguments, or --csv FILE, or --stdin")
    if len(imei) == 1:
        return iter([Row(1, Imei.parse(imei[0]))])
    if imei:
        return _arguments(imei)
    if csv is not None:
        return _file(csv)
    return read_imeis(sys.stdin)


def total(imei: tuple[str, ...], csv: str | None) -> int | None:
    """Return about how many rows there will be, or None if only reading them can tell."""
    if csv is None or not Path(csv).is_file():
        return None if not imei or imei == ("-",) else len(imei)
    with Path(csv).open("rb") as file:
        return sum(1 for _ in file)


def _arguments(imeis: Iterable[str]) -> Iterator[Row]:
    for number, text in enumerate(imeis, 1):
        try:
            yield Row(number, Imei.parse(text))
        except LocalError as error:
            yield Row(number, None, str(error))


def _file(path: str) -> Iterator[Row]:
    try:
        with Path(path).open(encoding="utf-8") as lines:
            yield from read_imeis(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


class Good:
    """The IMEIs of rows without a fault. Other rows are reported on standard error and counted in ``bad``."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.good = 0
        self.bad = 0

    def __iter__(self) -> Iterator[tuple[int, Imei]]:
        """Yield the row number and the IMEI."""
        for row in self._rows:
            if row.imei is None:
                self.bad += 1
                click.echo(f"dpe: error: row {row.number}: {row.fault}", err=True)
            else:
                self.good += 1
                yield row.number, row.imei

    def finish(self) -> None:
        """Raise LocalError if a row was bad or there was no row. The good rows are done."""
        if self.bad:
            done = f"{self.good} done" if self.good else "nothing done"
            raise LocalError(f"{self.bad} of {self.good + self.bad} IMEIs are at fault; {done}", hint="mend these rows")
        if not self.good:
            raise LocalError("there is no IMEI in the input", hint="give one a line, or CSV with a column `imei`")
