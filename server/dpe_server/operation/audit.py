"""The audit log: the records of handlers as JSON lines, without personal data.

The event loop only puts records in line. The log's own thread formats and writes them a moment later: no file, and no
lock that another process holds on it, ever stops the service. What anybody can cause without a key is limited to ten
lines a second, and counted above that, so that a flood cannot fill the disk.
"""

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import NamedTuple

import structlog

from dpe_server.files.logs import log_defect
from dpe_server.handling.records import SUPPRESSED, AuditRecord
from dpe_server.operation.audit_file import AuditFile, Limits, time_text

UNPROVED_PER_SECOND = 10
"""The most lines a second about senders that have proved no key."""
WAITING = 65_536
"""The most records that wait to be written, some 30 MB. Further ones are dropped, and counted as suppressed."""
GATHERING = 0.05
"""Seconds between two rounds of the thread: waking it for each batch costs more than the lines."""
PATIENCE = 2.0
"""Seconds that ``AuditLog.close`` waits for the last lines."""

_log = structlog.get_logger(__name__)
_QUIET = structlog.wrap_logger(structlog.ReturnLogger())


class _Batch(NamedTuple):
    records: Sequence[AuditRecord]
    wall: float
    suppressed: int
    """How many records before these get no line; the line before theirs says so, if it is not 0."""


class AuditLog:
    """Appends to the file at ``path`` (mode 0600), which it opens with the first line. To be closed in the end.

    All calls come from one thread, and only ``close`` waits. A record that gets no line is counted, whatever the
    reason: a later line has the count. With ``quiet``, nothing is told to the operational log. ``peer_of`` finds the
    address of who has sent a message by its end, or an empty string; without it, no line names a peer.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits | None = None,
        *,
        quiet: bool = False,
        peer_of: Callable[[bytes], str] | None = None,
    ) -> None:
        self._peer_of = peer_of
        self._log = _QUIET if quiet else _log
        self._file = AuditFile(path, limits or Limits(), self._log)
        self._gathered = threading.Condition()  # guards what follows
        self._waiting: list[_Batch | None] = []
        """None: go on in a new file."""
        self._records = 0
        """Records not written yet: those that wait, and those that the thread has taken."""
        self._suppressed = 0
        """How many records got no line and are not reported yet."""
        self.suppressed = 0
        """How many records have got no line since the start."""
        self._second = float("-inf")
        self._unproved = 0
        """Records of unproved senders since ``_second``."""
        self._closing = threading.Event()
        self._closed_at = 0.0
        self._fault = ""
        """Why the last lines were not written."""
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
            reported = 0
            if now - self._second >= 1:
                self._second, self._unproved = now, 0
                if not self._waiting or (records and self._records < WAITING):
                    reported, self._suppressed = self._suppressed, 0
            kept = [one for one in records if one is not SUPPRESSED and (not one.unproved or self._may_come())]
            del kept[max(0, WAITING - self._records) :]
            if self._peer_of is not None:
                kept = [_with_peer(one, self._peer_of) for one in kept]
            self._suppressed += len(records) - len(kept)
            self.suppressed += len(records) - len(kept)
            if kept or reported:
                self._records += len(kept)
                self._waiting.append(_Batch(kept, wall, reported))
                self._gathered.notify()

    def _may_come(self) -> bool:
        """Take a record of an unproved sender into account; return whether it gets a line."""
        self._unproved += 1
        return self._unproved <= UNPROVED_PER_SECOND

    def reopen(self) -> None:
        """Go on in a new file, after what was given before, if the old one was moved away (logrotate)."""
        with self._gathered:
            self._waiting.append(None)
            self._gathered.notify()

    def close(self, wall: float) -> str:
        """Have all that waits written, then the count of what is still suppressed, and close the file.

        It takes at most PATIENCE: a lock that is held for ever, or a disk that hangs, does not keep the server from
        ending. A warning then says how many records are lost. Returns why the last lines were not written, or "".
        """
        with self._gathered:
            self._closed_at = wall
            self._closing.set()
            self._gathered.notify()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._fault = "its file is locked, or the disk hangs"
            self._log.warning("audit log not finished", reason=self._fault, lost=self._records + self._suppressed)
        return self._fault

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
            batches: list[_Batch] = []
            for batch in taken:
                if batch is not None:
                    batches.append(batch)
                else:
                    self._append(batches)
                    batches = []
                    self._file.close()
            self._append(batches)
            with self._gathered:
                self._records -= sum(len(batch.records) for batch in taken if batch is not None)
        if self._suppressed:
            suppressed, self._suppressed = self._suppressed, 0
            self._append([_Batch((), self._closed_at, suppressed)])
        self._file.close()
        if self._suppressed:
            self._log.warning("audit log lacks records", count=self._suppressed)

    def _append(self, batches: Sequence[_Batch]) -> None:
        """Append the lines of some batches, and count the records that get none."""
        lines: list[bytes] = []
        missing = 0
        for batch in batches:
            time = time_text(batch.wall)
            if batch.suppressed:
                lines.append(_line(time, "suppressed", {"count": batch.suppressed}))
            for record in batch.records:
                try:
                    lines.append(_line(time, record.event, record.details))
                except Exception as error:
                    log_defect("audit log failed", error)
                    missing += 1
        if lines:
            self._fault = self._file.append(b"".join(lines))
            if self._fault:
                missing = sum(len(batch.records) + batch.suppressed for batch in batches)
        with self._gathered:
            self._suppressed += missing
            self.suppressed += missing


def _with_peer(record: AuditRecord, peer_of: Callable[[bytes], str]) -> AuditRecord:
    peer = peer_of(record.end) if record.end else ""
    return record._replace(details={**record.details, "peer": peer}) if peer else record


def _line(time: str, event: str, details: dict[str, str | int]) -> bytes:
    """Return a JSON object as a line, put together by hand: ``json.dumps`` takes four times as long."""
    members = "".join(
        [f',"{name}":{value if isinstance(value, int) else quoted(value)}' for name, value in details.items()]
    )
    return f'{{"time":"{time}","event":"{event}"{members}}}\n'.encode()
