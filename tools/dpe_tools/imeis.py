"""IMEIs as commands accept them: arguments, a CSV file, standard input. Errors name the row, never a digit."""

import sys
from collections.abc import Callable, Sized
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO

import click

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_tools import imei_lists, list_text
from dpe_tools.imei_lists import ImeiList
from dpe_tools.progress import Working

SHOWN = 20
"""Faults that are told one by one, before the rest is only counted."""


def sources(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and the options that name IMEIs; the command gets them as ``given``, a Source."""

    @click.argument("imei", nargs=-1, metavar="[IMEI]...")
    @click.option("--csv", metavar="FILE", help="Read IMEIs from FILE: one per line, or CSV with a column `imei`.")
    @click.option("--stdin", is_flag=True, help="Read IMEIs from standard input.")
    @click.option("--column", metavar="NAME", help="The column of the CSV that has the IMEIs, if it is not `imei`.")
    @click.option(
        "--as-written", is_flag=True, help="No zero is missing: take 14 digits, and different lengths, as they are."
    )
    @wraps(command)
    def with_source(
        imei: tuple[str, ...], csv: str | None, stdin: bool, column: str | None, as_written: bool, **rest: Any
    ) -> None:
        command(given=Source(imei, csv, stdin, column, as_written), **rest)

    return with_source


@dataclass(frozen=True, slots=True)
class Source:
    """Where the IMEIs come from."""

    arguments: tuple[str, ...]
    csv: str | None
    stdin: bool
    column: str | None
    as_written: bool

    @property
    def is_file(self) -> bool:
        """Whether they come from a file, whose rows one wants to find again."""
        return self.csv is not None

    def read(self) -> ImeiList:
        """Read all of them and tell the faults on standard error. Raises UsageError unless there is just one source.

        Raises LocalError if the list cannot be read, or if it has no row.
        """
        arguments, csv, stdin = self.arguments, self.csv, self.stdin
        if arguments == ("-",) or csv == "-":
            arguments, csv, stdin = (), None, True
        if bool(arguments) + (csv is not None) + stdin != 1:
            raise click.UsageError("give IMEIs as arguments, or --csv FILE, or --stdin")
        if arguments and self.column is not None:
            raise click.UsageError("--column goes with --csv or --stdin")
        if len(arguments) == 1:
            return imei_lists.read_one(arguments[0], as_written=self.as_written)
        if arguments:
            found = imei_lists.read_arguments(arguments, as_written=self.as_written)
        else:
            found = self._read_stream(csv)
        for number, fault in found.faults[:SHOWN]:
            click.echo(f"dpe: error: row {number}: {fault}", err=True)
        if len(found.faults) > SHOWN:
            click.echo(f"dpe: error: {len(found.faults) - SHOWN} more rows are at fault", err=True)
        if not found.devices and not found.faults:
            raise LocalError("there is no IMEI in the input", hint="give one a line, or CSV with a column `imei`")
        return found

    def _read_stream(self, path: str | None) -> ImeiList:
        try:
            with ExitStack() as cleanup:
                stream: BinaryIO = sys.stdin.buffer
                if path is not None:
                    stream = cleanup.enter_context(Path(path).open("rb"))
                lines = cleanup.enter_context(closing(list_text.lines(stream)))
                if path is not None or not sys.stdin.isatty():  # somebody may be typing
                    cleanup.enter_context(Working("reading the list"))
                return imei_lists.read(lines, column=self.column, as_written=self.as_written)
        except OSError as error:
            raise LocalError(f"cannot read {path or 'standard input'}: {error.strerror}") from None


def all_or_nothing(given: Source) -> list[Imei]:
    """Return the IMEIs of a list without any fault. Raises LocalError."""
    found = given.read()
    if found.faults:
        raise fault_of(found, 0)
    return [imei for _, imei in found.devices]


def fault_of(found: ImeiList, done: int) -> LocalError:
    """Return the error that says how many IMEIs are at fault, and how many are done in spite of them."""
    bad, told = len(found.faults), f"{done} done" if done else "nothing done"
    return LocalError(
        f"{bad} of {bad + len(found.devices)} IMEIs are at fault; {told}",
        hint="mend these rows, and give the same command again",
    )


def count(devices: Sized) -> str:
    """Return a number of devices, in words."""
    return f"{len(devices)} device{'' if len(devices) == 1 else 's'}"
