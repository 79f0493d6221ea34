"""Provisioning (bootstrap) of many devices: lists of IMEIs read, files of credentials written."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_server.operation.credential import Credential

INDEX = "index.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the input and what it holds: the IMEI, or (as text) why there is none."""

    number: int
    """The line, from 1, as an editor counts."""
    imei: Imei | None
    fault: str = ""


def read_imeis(lines: Iterable[str]) -> Iterator[Row]:
    """Read one IMEI a line, or CSV whose header has a column ``imei``.

    Blank lines and lines that begin with ``#`` are skipped. A faulty line, or one whose IMEI was seen before, is a Row
    with a fault, which never holds a digit of it; the rest is read all the same.
    """
    column, first = 0, True
    seen: dict[Imei, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.lstrip("\ufeff").strip()
        if not text or text.startswith("#"):
            continue
        try:
            cells = next(csv.reader([text], strict=True))
        except csv.Error:
            yield Row(number, None, "not CSV: a quotation mark is missing")
            continue
        names = [cell.strip().lower() for cell in cells]
        if first and "imei" in names:
            column, first = names.index("imei"), False
            continue
        if first and len(cells) > 1:
            yield Row(number, None, "several columns, and no header that names one of them imei")
            return
        first = False
        yield _row(number, cells, column, seen)


def _row(number: int, cells: list[str], column: int, seen: dict[Imei, int]) -> Row:
    if column >= len(cells):
        return Row(number, None, "the column imei is missing")
    try:
        imei = Imei.parse(cells[column])
    except LocalError as error:
        return Row(number, None, str(error))
    if imei in seen:
        return Row(number, None, f"the same IMEI as in row {seen[imei]}")
    seen[imei] = number
    return Row(number, imei)


def write_credentials(
    directory: Path,
    devices: Iterable[tuple[int, Imei]],
    make: Callable[[Imei], Credential],
    device_id: Callable[[Imei], bytes],
) -> Iterator[Path]:
    """Write the credential of each device (row and IMEI) to ``directory``; yield its CBOR file once it is there.

    ``device-<16 hex digits of the device's keyed hash>.cbor`` and ``.json``, mode 0600, and ``index.csv`` with the row
    of each. Raises LocalError rather than overwrite a file.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _create(directory / INDEX) as index:
            index.write(b"row,file\n")
            for row, imei in devices:
                made = make(imei)
                path = directory / f"device-{device_id(imei).hex()[:16]}.cbor"
                for file, content in ((path, made.to_cbor()), (path.with_suffix(".json"), _line(made))):
                    with _create(file) as stream:
                        stream.write(content)
                index.write(f"{row},{path.name}\n".encode())
                yield path
    except FileExistsError as error:
        raise LocalError(
            f"{error.filename} is there already", hint="give --out a directory that is new or empty"
        ) from None
    except OSError as error:
        raise LocalError(f"{error.filename or directory}: {error.strerror}", hint="check --out") from None


def _line(made: Credential) -> bytes:
    return f"{made.to_json()}\n".encode()


def _create(path: Path) -> Any:
    """Open a new file (mode 0600) for writing; FileExistsError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
