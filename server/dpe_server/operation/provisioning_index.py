"""The index of a folder of credentials, `index.csv`: a header, and for each credential its row and where it is.

Its lines are written ahead of what they name. Whoever has it open has a lock on it.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from dpe_coap.errors import LocalError

INDEX = "index.csv"


class Index:
    """The index of ``directory``, which is made if need be. A file without a line goes away again on exit."""

    def __init__(self, directory: Path, header: str) -> None:
        """Open the index. LocalError if it is something else, or if another process writes to it; OSError."""
        self.path = directory / INDEX
        self.lines: dict[int, str] = {}
        """What stands behind each row, in the order of the lines."""
        self._header = f"{header}\n".encode()
        self._folders = _make(directory)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except BaseException:
            self._remove_folders()
            raise
        try:
            self._size = self._read()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file, and leave nothing if there is nothing to leave."""
        if os.fstat(self._file).st_size == 0:
            with suppress(OSError):
                self.path.unlink()
            self._remove_folders()
        os.close(self._file)

    def append(self, row: int, place: str) -> None:
        """Write a line, whole or not at all. OSError."""
        line = f"{row},{place}\n".encode()
        try:
            write_all(self._file, line if self._size else self._header + line, self._size)
        except BaseException:
            self._cut(self._size)
            raise
        self._size = os.fstat(self._file).st_size
        self.lines[row] = place

    def drop_last(self) -> None:
        """Take the last line away."""
        row, place = self.lines.popitem()
        self._cut(self._size - len(f"{row},{place}\n".encode()))

    def _cut(self, size: int) -> None:
        self._size = size if self.lines else 0
        os.ftruncate(self._file, self._size)

    def _read(self) -> int:
        """Read the lines that are there, cut off the beginning of one, and return their size."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"{self.path}: another dpe provision is at work there", hint="wait for it") from None
        with open(self._file, "rb", closefd=False) as file:
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if not whole.startswith(self._header) and not self._header.startswith(data):
            raise LocalError(
                f"{self.path} is there already, and is of another kind",
                hint="give --out a directory that is new or empty",
            )
        for number, line in enumerate(whole.decode(errors="replace").splitlines()[1:], 2):
            row, _, place = line.partition(",")
            if not row.isdecimal() or int(row) in self.lines:
                raise LocalError(f"{self.path}: line {number} is not as it was written", hint="give another --out")
            self.lines[int(row)] = place
        size = len(whole) if self.lines else 0
        os.ftruncate(self._file, size)
        return size

    def _remove_folders(self) -> None:
        with suppress(OSError):
            for folder in self._folders:
                folder.rmdir()


def write_all(file: int, data: bytes, at: int) -> None:
    """Write all of the data at this offset. OSError; then some of it may be written."""
    while data:
        count = os.pwrite(file, data, at)
        data, at = data[count:], at + count


def _make(directory: Path) -> list[Path]:
    """Make the directory (mode 0700) and those above it; return what was made, the innermost first."""
    missing: list[Path] = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for number, folder in enumerate(reversed(missing)):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            for made in missing[len(missing) - number - 1 :]:
                with suppress(OSError):
                    made.rmdir()
            raise
    return missing
