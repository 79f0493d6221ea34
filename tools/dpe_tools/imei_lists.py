"""Lists of IMEIs as people have them: one a line, or a table. Errors name rows and columns, never a digit.

A wrong identity is the worst that can come of a list, so nothing is dropped silently, and a list that a spreadsheet has
changed is refused whole.
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_server.files.shown import shown_key
from dpe_tools import imei_cells
from dpe_tools.imei_cells import EXPORT, Cell, Damaged

SEPARATORS = ",;\t"
HEADER = 50
"""Lines within which the header must end."""
FEW = 2
"""Numbers from which nothing follows for the whole list."""
TOLD = 5
"""Rows that an error names, before it counts the rest."""
AS_WRITTEN = "or give --as-written if no zero is missing"

_IMEI_COLUMN = re.compile(
    r"(?:device|equipment|phone|mobile|modem|handset|primary|main)?"
    r"imei(?:sv|meid)?(?:slot|sim)?[1-9]?(?:no|nr|num|number|nummer|numero|code|id)?[1-9]?"
)
_TOO_LONG_FOR_A_COMMENT = re.compile(r"(?:\d[ /-]?){14}")


@dataclass(slots=True)
class ImeiList:
    """What a list says."""

    devices: list[tuple[int, Imei]] = field(default_factory=list)
    """Row and IMEI. Rows are lines, from 1, as an editor counts; a row of several lines has the number of its first."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Row, and why it has no IMEI."""


@dataclass(frozen=True, slots=True)
class Table:
    """How the rows are to be read."""

    separator: str
    column: int = 0
    name: str = ""
    """The header of that column, or empty: then there is no header, and one column."""
    needed: int = 1
    """Cells that a row must have."""
    width: int = 1
    """Cells that a row may have, besides empty ones."""


def read(lines: Iterable[str], *, column: str | None = None, as_written: bool = False) -> ImeiList:
    """Read the lines of a list, ends included. ``column`` is the header of the column to take, in place of ``imei``.

    ``as_written`` says that numbers of 14 digits are right, and numbers of different lengths too. Raises LocalError if
    the list cannot be read, or cannot be trusted in any row.
    """
    table, rows = _begin(iter(lines), column)
    reader = _Reader(table)
    for number, cells in rows:
        reader.add(number, cells)
    return reader.finish(as_written)


def read_one(text: str, *, as_written: bool = False) -> ImeiList:
    """Read a single IMEI. Raises LocalError."""
    cell = imei_cells.read(text)
    if cell.zero_lost and not as_written:
        raise LocalError(
            "14 digits, which are an IMEI of 15 when a 0 is put before them: has a spreadsheet taken it away?",
            hint=f"give it with its zero, {AS_WRITTEN}",
        )
    return ImeiList([(1, cell.imei)])


def read_arguments(texts: Iterable[str], *, as_written: bool = False) -> ImeiList:
    """Read arguments of the command line, by the same rules as the rows of a list. Their lengths may differ."""
    reader = _Reader(Table(","))
    for number, text in enumerate(texts, 1):
        reader.add(number, [text])
    return reader.finish(as_written, is_list=False)


def _begin(lines: Iterator[str], column: str | None) -> tuple[Table, Iterator[tuple[int, list[str]]]]:
    """Read all before the first row; return how to read the rows, and these."""
    before, separators = 0, SEPARATORS
    for line in lines:
        text = line.strip().strip('"')
        if text[:4].lower() == "sep=" and not before:
            separators = line.strip('"\r\n')[4:5] or SEPARATORS
            if separators in '" ' or separators.isalnum():
                raise LocalError("row 1: sep= names no separator", hint="remove the row")
        elif text.startswith("#"):
            if _TOO_LONG_FOR_A_COMMENT.search(text):
                raise LocalError(f"row {before + 1}: a comment holds a number", hint="remove the row, or its #")
        elif text:
            lines = chain([line], lines)
            break
        before += 1
    first = list(islice(lines, HEADER))
    table = _table(first, separators, column)
    rows = _rows(chain(first, lines), table.separator, before)
    if table.name:
        next(rows)
    return table, rows


def _table(first: Sequence[str], separators: str, column: str | None) -> Table:
    """Find separator and header in the first lines."""
    found: list[Table] = []
    widest = 1
    for separator in separators:
        try:
            cells = next(csv.reader(first, delimiter=separator, strict=True, skipinitialspace=True), [])
        except csv.Error:
            continue
        widest = max(widest, len(cells))
        matching = [number for number, cell in enumerate(cells) if _is_imei_column(cell)]
        wanted = matching if column is None else [n for n, cell in enumerate(cells) if _norm(cell) == _norm(column)]
        if len(wanted) > 1:
            names = ", ".join(shown_key(cells[number].strip()) for number in wanted)
            raise LocalError(
                f"several columns may hold the IMEI: {names}",
                hint="a device has one credential, under one IMEI: say which column has it, with --column NAME",
            )
        if wanted:
            needed = max(wanted + matching) + 1
            found.append(Table(separator, wanted[0], shown_key(cells[wanted[0]].strip()), needed, len(cells)))
    if found:
        return max(found, key=lambda table: table.width)
    if first and column is not None:
        raise LocalError(f"no column is named {shown_key(column)}", hint="--column takes a name of the first row")
    if widest > 1:
        raise LocalError(
            "the list has several columns, and no header that names one of them imei",
            hint="the first row must name the columns; begin what stands before it with #",
        )
    return Table(separators[0])


def _norm(name: str) -> str:
    name = unicodedata.normalize("NFKC", name).casefold()
    return "".join(char for char in name if char.isalnum())


def _is_imei_column(name: str) -> bool:
    return _IMEI_COLUMN.fullmatch(_norm(name)) is not None


def _rows(lines: Iterable[str], separator: str, before: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        number = before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise LocalError(
                f"row {number}: not CSV: a quotation mark is missing, or one is too many; nothing is done"
            ) from None
        yield number, cells


class _Reader:
    """Takes rows one by one, and judges them together in the end."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._list = ImeiList()
        self._rows_of: dict[Imei, int] = {}
        self._lengths: dict[int, list[int]] = {}
        self._zero_lost: list[int] = []
        self._damaged: list[int] = []
        self._spare: list[int] = []
        self._wrong = 0
        """Numbers of 15 digits whose last is wrong."""
        self._check_digits = False
        """Some number ends in a digit that can only be a check digit."""

    def add(self, number: int, cells: list[str]) -> None:
        if not any(cell.strip() for cell in cells):
            return
        try:
            self._take(number, imei_cells.read(self._cell(cells)))
        except LocalError as error:
            if isinstance(error, Damaged):
                self._damaged.append(number)
            self._wrong += "check digit" in str(error)
            self._fault(number, str(error))

    def finish(self, as_written: bool, *, is_list: bool = True) -> ImeiList:
        if self._damaged and is_list:
            raise LocalError(
                f"{_named(self._damaged)}: a spreadsheet has made numbers of the IMEIs, and digits are lost; "
                "nothing is done",
                hint=EXPORT,
            )
        if self._zero_lost and not as_written:
            raise LocalError(
                f"{_named(self._zero_lost)}: 14 digits, which are an IMEI of 15 when a 0 is put before them; it seems "
                "that a spreadsheet has taken the zero away; nothing is done",
                hint=f"{EXPORT}; {AS_WRITTEN}",
            )
        if len(self._lengths) > 1 and is_list and not as_written:
            lengths = "; ".join(f"{length} digits in {_named(rows)}" for length, rows in sorted(self._lengths.items()))
            raise LocalError(
                f"numbers of different lengths: {lengths}; a spreadsheet takes zeros away; nothing is done",
                hint=f"{EXPORT}; {AS_WRITTEN}",
            )
        of_15 = self._wrong + len(self._lengths.get(15, []))
        if is_list and of_15 > FEW and 2 * self._wrong > of_15:
            raise LocalError(
                f"{self._wrong} of {of_15} numbers of 15 digits have a wrong check digit: they are no IMEIs, or "
                "IMEISVs of 16 digits whose first zero a spreadsheet has taken away; nothing is done",
                hint=EXPORT,
            )
        self._refuse_mistyped()
        return self._list

    def _cell(self, cells: list[str]) -> str:
        table = self._table
        if any(cell.strip() for cell in cells[table.width :]):
            more = (
                "the row has more cells than the header"
                if table.name
                else "the row has several cells, and there is no header"
            )
            raise LocalError(f"{more}; text with a separator in it must be quoted")
        if len(cells) < table.needed:
            if cells[0].startswith("#"):
                raise LocalError("it begins with #: comments may only stand before the header")
            raise LocalError("the cell is missing" if len(cells) <= table.column else "the row has too few cells")
        return cells[table.column]

    def _take(self, number: int, cell: Cell) -> None:
        if cell.imei in self._rows_of:
            raise LocalError(f"the same IMEI as in row {self._rows_of[cell.imei]}")
        self._rows_of[cell.imei] = number
        self._list.devices.append((number, cell.imei))
        self._lengths.setdefault(cell.length, []).append(number)
        if cell.zero_lost:
            self._zero_lost.append(number)
        if cell.spare:
            self._spare.append(number)
        self._check_digits |= cell.checked

    def _refuse_mistyped(self) -> None:
        """Refuse a 0 in place of the check digit where other rows show that the list has check digits."""
        if self._spare and self._check_digits:
            spare = set(self._spare)
            self._list.devices = [device for device in self._list.devices if device[0] not in spare]
            for number in self._spare:
                self._fault(number, "not an IMEI: the check digit (the 15th) is wrong")
            self._list.faults.sort()

    def _fault(self, number: int, text: str) -> None:
        where = f"column {self._table.name}: " if self._table.name else ""
        self._list.faults.append((number, where + text))


def _named(rows: Sequence[int]) -> str:
    names = ", ".join(map(str, rows[:TOLD]))
    more = f" and {len(rows) - TOLD} more" if len(rows) > TOLD else ""
    return f"row{'s' if len(rows) > 1 else ''} {names}{more}"
