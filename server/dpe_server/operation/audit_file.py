"""The audit log's file: appended to by several processes, rotated when it is long, stopped before the disk is full.

Who appends holds the file's lock (flock). A process that rotates first ends the old file with a line that says so. By
this line the others, which have it open, know that they go on in a new file. A file that another program has moved away
(logrotate) has no such line and is used until ``close``.
"""

import fcntl
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import structlog

WARN = 2
"""Times the least free space: below that there is a warning."""
ENOUGH = 1 << 30
"""Bytes, 1 GiB: the least free space is never more, however large the file system is. By default, the log takes a
quarter of that."""
_LAST = b'"event":"rotated"}\n'
"""How a file ends that has been rotated. No other line can: quotation marks of a value are escaped."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much room the audit log may take."""

    size: int = 256 << 20
    """Bytes of all files together; 0: it is not rotated."""
    files: int = 4
    """How many files, the current one included; at least 2."""
    least_free: int = 5
    """Percent of the file system that stay free, but not more than ``ENOUGH``."""


class NearlyFullError(OSError):
    """Less of the file system is free than must stay free."""


class AuditFile:
    """The file at ``path``, mode 0600; the older ones are ``path.1``, ``path.2`` and so on.

    When it cannot be written, one line of ``log`` (the operational log) says so, and another one when it can be again.
    """

    def __init__(self, path: Path, limits: Limits, log: structlog.typing.FilteringBoundLogger) -> None:
        self._path = path
        self._limits = limits
        self._log = log
        self._file: FileIO | None = None
        self._fault = ""
        self._warned = False

    def append(self, lines: bytes) -> str:
        """Append whole lines, all or none; open the file first if need be. Return why they were not written, or ""."""
        try:
            self._append(lines)
        except OSError as error:
            self.close()
            fault = error.strerror or str(error)
            if not self._fault:
                event = "audit log stopped" if isinstance(error, NearlyFullError) else "audit log not writable"
                self._log.warning(event, reason=fault)
            self._fault = fault
        else:
            if self._fault:
                self._log.info("audit log writable again")
            self._fault = ""
        return self._fault

    def close(self) -> None:
        """Let go of the file; the next line opens what is at ``path`` then."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, lines: bytes) -> None:
        while True:
            if self._file is None:
                self._file = _open(self._path)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._check_room(self._file)
                size = os.fstat(self._file.fileno()).st_size
                rotated = os.pread(self._file.fileno(), len(_LAST), max(0, size - len(_LAST))) == _LAST
                if not rotated and not self._is_full(size + len(lines), size):
                    _write(self._file, size, lines)
                    return
                if self._is_at_path(self._file):  # otherwise another process has moved it away already
                    if not rotated:
                        _write(self._file, size, _last_line())
                    self._shift()
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self.close()

    def _check_room(self, file: FileIO) -> None:
        found = os.fstatvfs(file.fileno())
        percent, free = self._limits.least_free, found.f_bavail * found.f_frsize
        share = percent * found.f_blocks * found.f_frsize / 100
        least, number, unit = (share, percent, "%") if share < ENOUGH else (ENOUGH, ENOUGH >> 30, "GiB")
        if free < least:
            raise NearlyFullError(f"less than {number} {unit} of its file system is free")
        low = free < WARN * least
        if low and not self._warned:
            reason = f"less than {WARN * number} {unit} of its file system is free"
            self._log.warning("audit log stops soon", reason=reason)
        self._warned = low

    def _is_full(self, after: int, before: int) -> bool:
        """Say whether a file of ``before`` bytes may not grow to ``after`` bytes. An empty one takes all."""
        return 0 < self._limits.size < after * self._limits.files and before > 0

    def _is_at_path(self, file: FileIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _shift(self) -> None:
        """Give each file the next number. The last one is overwritten."""
        for number in range(self._limits.files - 1, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if number == 1 or older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _open(path: Path) -> FileIO:
    return FileIO(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")


def _write(file: FileIO, size: int, lines: bytes) -> None:
    """Append to a file of ``size`` bytes. A last line that was cut off (power lost) is ended first."""
    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
        lines = b"\n" + lines
    if file.write(lines) != len(lines):
        os.ftruncate(file.fileno(), size)
        raise OSError("no space for the whole line")


def _last_line() -> bytes:
    return f'{{"time":"{time_text(datetime.now(UTC).timestamp())}",'.encode() + _LAST


def time_text(wall: float) -> str:
    """Return Unix time (seconds) as every line has it: ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
