"""The audit log: the registrar's decisions as JSON lines, without personal data.

What anybody can cause without a key is limited to ten lines a second and counted above that, so a flood cannot fill the
disk. A log that cannot be written never stops the service.
"""

import fcntl
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from io import FileIO
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

import structlog

from dpe_server.handling.records import AuditRecord

UNPROVED_PER_SECOND = 10
"""The most lines a second about senders that have proved no key."""

_log = structlog.get_logger(__name__)


class AuditLog:
    """Appends to the file at ``path`` (mode 0600), which it opens with the first line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._fails = False
        self._second = float("-inf")
        self._unproved = 0
        self._suppressed = 0

    def write(self, records: Iterable[AuditRecord], now: float, wall: float) -> None:
        """Append a line for each record. ``now`` is monotonic, ``wall`` is Unix time, both in seconds."""
        time = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
        lines: list[bytes] = []
        if now - self._second >= 1:
            lines += self._count(time)
            self._second, self._unproved = now, 0
        for record in records:
            if record.unproved:
                self._unproved += 1
                if self._unproved > UNPROVED_PER_SECOND:
                    self._suppressed += 1
                    continue
            lines.append(_line(time, record.event, record.details))
        self._append(b"".join(lines))

    def reopen(self) -> None:
        """Go on in a new file if the old one was moved away (logrotate)."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self, wall: float) -> None:
        """Write what is still counted, and close the file."""
        self._append(b"".join(self._count(datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds"))))
        self.reopen()

    def _count(self, time: str) -> list[bytes]:
        suppressed, self._suppressed = self._suppressed, 0
        return [_line(time, "suppressed", {"count": suppressed})] if suppressed else []

    def _append(self, lines: bytes) -> None:
        if not lines:
            return
        try:
            if self._file is None:
                self._file = _open(self._path)
            _append_whole(self._file, lines)
        except OSError as error:
            self.reopen()
            if not self._fails:
                _log.warning("audit log not writable", reason=error.strerror or str(error))
            self._fails = True
        else:
            if self._fails:
                _log.info("audit log writable again")
            self._fails = False


def _open(path: Path) -> FileIO:
    return FileIO(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")


def _append_whole(file: FileIO, lines: bytes) -> None:
    """Append lines, alone among the processes. A last line that was cut off (disk full, power lost) is ended first."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        size = os.fstat(file.fileno()).st_size
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            lines = b"\n" + lines
        if file.write(lines) != len(lines):
            raise OSError("no space for the whole line")
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _line(time: str, event: str, details: dict[str, str | int]) -> bytes:
    """Return a JSON object as a line: put together by hand, for one of ``json.dumps`` takes four times as long."""
    members = "".join(
        [f',"{name}":{value if isinstance(value, int) else quoted(value)}' for name, value in details.items()]
    )
    return f'{{"time":"{time}","event":"{event}"{members}}}\n'.encode()
