"""The audit log: the records of handlers as JSON lines, without personal data.

The event loop only puts records in line. The log's own thread formats and writes them a moment later: no file, and no
lock that another process holds on it, ever stops the service. What anybody can cause without a key is limited to ten
lines a second, and counted above that, so that a flood cannot fill the disk.
"""

import fcntl
import os
import threading
from collections.abc import Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from io import FileIO
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import NamedTuple

import structlog

from dpe_server.files.logs import log_defect
from dpe_server.handling.records import AuditRecord

UNPROVED_PER_SECOND = 10
"""The most lines a second about senders that have proved no key."""
WAITING = 65_536
"""The most records that wait to be written, some 30 MB. Further ones are dropped, and counted as suppressed."""
GATHERING = 0.05
"""Seconds between two rounds of the thread: waking it for each batch costs more than the lines."""
PATIENCE = 2.0
"""Seconds that ``AuditLog.close`` waits for the last lines."""

_log = structlog.get_logger(__name__)


class _Batch(NamedTuple):
    records: Sequence[AuditRecord]
    now: float
    wall: float


class AuditLog:
    """Appends to the file at ``path`` (mode 0600), which it opens with the first line. To be closed in the end.

    All calls come from one thread, and only ``close`` waits.
    """

    def __init__(self, path: Path) -> None:
        self._lines = _Lines()
        self._file = _File(path)
        self._gathered = threading.Condition()  # guards what follows
        self._waiting: list[_Batch | None] = []
        """None: go on in a new file."""
        self._records = 0
        """Records not written yet: those that wait, and those that the thread has taken."""
        self._dropped = 0
        self._closing = threading.Event()
        self._closed_at = 0.0
        # A daemon and not an executor: Python's exit waits for the threads of an executor, however long they take.
        run = copy_context().run  # so that its log lines name the worker
        self._thread = threading.Thread(target=run, args=(self._run,), name="dpe-audit", daemon=True)
        self._thread.start()

    def write(self, records: Sequence[AuditRecord], now: float, wall: float) -> None:
        """Have a line written for each record. ``now`` is monotonic, ``wall`` is Unix time, both in seconds.

        A batch that comes a second later or more, even an empty one, also writes the count of the records suppressed
        before.
        """
        with self._gathered:
            room = WAITING - self._records
            if len(records) > room:
                self._dropped += len(records) - room
                records = records[:room]
            if records or (self._lines.suppressed and not self._waiting):
                self._records += len(records)
                self._waiting.append(_Batch(records, now, wall))
                self._gathered.notify()

    def reopen(self) -> None:
        """Go on in a new file, after what was given before, if the old one was moved away (logrotate)."""
        with self._gathered:
            self._waiting.append(None)
            self._gathered.notify()

    def close(self, wall: float) -> None:
        """Have all that waits written, then the count of what is still suppressed, and close the file.

        It takes at most PATIENCE: a lock that is held for ever, or a disk that hangs, does not keep the server from
        ending. A warning then says how many records are lost.
        """
        with self._gathered:
            self._closed_at = wall
            self._closing.set()
            self._gathered.notify()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            _log.warning("audit log not finished", reason="its file is locked, or the disk hangs", lost=self._records)

    def _run(self) -> None:
        """Write what has gathered, again and again, until the log is closed."""
        closing = False
        while not closing:
            with self._gathered:
                while not self._waiting and not self._closing.is_set():
                    self._gathered.wait()
            closing = self._closing.wait(GATHERING)
            with self._gathered:
                taken, self._waiting = self._waiting, []
                dropped, self._dropped = self._dropped, 0
            try:
                self._drain(taken)
                self._lines.suppressed += dropped
                if closing:
                    self._file.append(self._lines.count(self._closed_at))
                    self._file.close()
            except Exception as error:
                log_defect("audit log failed", error)
            with self._gathered:
                self._records -= sum(len(batch.records) for batch in taken if batch is not None)

    def _drain(self, taken: Sequence[_Batch | None]) -> None:
        lines: list[bytes] = []
        for batch in taken:
            if batch is not None:
                lines += self._lines.of(batch)
            else:
                self._file.append(lines)
                self._file.close()
                lines = []
        self._file.append(lines)


class _Lines:
    """Records as lines, those of unproved senders limited."""

    def __init__(self) -> None:
        self.suppressed = 0
        """How many records got no line and are not reported yet."""
        self._second = float("-inf")
        self._unproved = 0

    def of(self, batch: _Batch) -> list[bytes]:
        """Return the lines of a batch of records."""
        lines: list[bytes] = []
        if batch.now - self._second >= 1:
            lines += self.count(batch.wall)
            self._second, self._unproved = batch.now, 0
        time = _time(batch.wall)
        for record in batch.records:
            if record.unproved:
                self._unproved += 1
                if self._unproved > UNPROVED_PER_SECOND:
                    self.suppressed += 1
                    continue
            lines.append(_line(time, record.event, record.details))
        return lines

    def count(self, wall: float) -> list[bytes]:
        """Return the line that reports how many records got none, if any did, and count from 0 again."""
        suppressed, self.suppressed = self.suppressed, 0
        return [_line(_time(wall), "suppressed", {"count": suppressed})] if suppressed else []


class _File:
    """The file at ``path``, shared with other processes. When it fails there is one warning, and the lines are lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._fails = False

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines together, and open the file first if need be."""
        if not lines:
            return
        try:
            if self._file is None:
                self._file = _open(self._path)
            _append_whole(self._file, b"".join(lines))
        except OSError as error:
            self.close()
            if not self._fails:
                _log.warning("audit log not writable", reason=error.strerror or str(error))
            self._fails = True
        else:
            if self._fails:
                _log.info("audit log writable again")
            self._fails = False

    def close(self) -> None:
        """Let go of the file; the next line opens what is at ``path`` then."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _open(path: Path) -> FileIO:
    return FileIO(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")


def _append_whole(file: FileIO, lines: bytes) -> None:
    """Append lines while no other process does. A last line that was cut off (disk full, power lost) is ended first."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        size = os.fstat(file.fileno()).st_size
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            lines = b"\n" + lines
        if file.write(lines) != len(lines):
            raise OSError("no space for the whole line")
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


def _line(time: str, event: str, details: dict[str, str | int]) -> bytes:
    """Return a JSON object as a line, put together by hand: ``json.dumps`` takes four times as long."""
    members = "".join(
        [f',"{name}":{value if isinstance(value, int) else quoted(value)}' for name, value in details.items()]
    )
    return f'{{"time":"{time}","event":"{event}"{members}}}\n'.encode()
