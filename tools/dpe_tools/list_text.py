"""The text of a list, whatever program has written it: UTF-8, UTF-16 and UTF-32 with their marks, else Latin-1."""

import codecs
import io
from collections.abc import Generator
from typing import BinaryIO

from dpe_coap.errors import LocalError

LONGEST_LINE = 1 << 20
"""Characters."""

_MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
_OTHERS = [
    (b"PK\x03\x04", "a spreadsheet's own file (xlsx or ods) or an archive"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet's own file (xls)"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"%PDF", "a PDF"),
]


def lines(stream: BinaryIO) -> Generator[str, None, None]:
    """Yield the lines with their ends (LF, CR LF or CR), as they come. Raises LocalError for what is no list at all.

    Bytes that are not UTF-8 are taken for Latin-1, one by one: they matter in no cell that holds digits.
    """
    head = stream.read(4)
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise LocalError(f"the list is {what}, not text", hint="export it as CSV")
    text = io.TextIOWrapper(
        io.BufferedReader(_Whole(head, stream)),
        encoding=_encoding(head),
        errors="dpe-latin-1",
        newline="",
    )
    number = 0
    try:
        while line := text.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise LocalError(f"row {number} has more than {LONGEST_LINE} characters", hint="is it a list?")
            yield line
    except UnicodeError:
        raise LocalError(f"after row {number} the list is not {text.encoding} text", hint="save it as UTF-8") from None
    finally:
        text.detach()  # so that the caller's stream stays open


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head[1:2] == b"\0" != head[:1]:
        return "utf-16-le"  # a first character of ASCII, and no mark
    return "utf-16-be" if head[:1] == b"\0" != head[1:2] else "utf-8"


def _latin_1(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError) and error.encoding == "utf-8":
        return error.object[error.start : error.end].decode("latin-1"), error.end
    raise error


codecs.register_error("dpe-latin-1", _latin_1)


class _Whole(io.RawIOBase):
    """A stream again, whose first bytes have been read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head, b""
        return head or self._rest.read(size)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
