"""Copies SQLite's write-ahead log back into the database beside the commits, which would wait for it otherwise.

Copying what some thousand sessions have changed takes 10 to 50 ms, most of it until the disk has it. A thread does that
on a connection of its own, and keeps nobody from reading or writing. What has been committed meanwhile is copied by
the thread that commits, before its next transaction: only when all is copied does SQLite begin the log anew.
"""

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

ROWS = 12_000
"""Rows that are changed from one copying to the next. Each writes two or three pages, so these are some 55 MB of the
log where pages have 2 kB. If it were copied more often, more pages would be copied again and again."""

PATIENCE = 0.01
"""Seconds that the last step waits for another process that writes, and for those who still read what was before."""


class CopyingBack:
    """Copies on ``connection`` what ``writer`` commits. Only who has the turn to write may call it.

    No error is raised: what is not copied stays in the log, and each commit tries again once that is full
    (``database.CHECKPOINT``).
    """

    def __init__(self, connection: sqlite3.Connection, writer: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.execute(f"PRAGMA busy_timeout = {PATIENCE * 1_000:.0f}")
        self._writer = writer
        self._rows = writer.total_changes
        """Those that ``writer`` had changed when it began last."""
        self._copying: Future[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dpe-copy")

    def begin(self) -> None:
        """After a commit: begin to copy if it is time."""
        rows = self._writer.total_changes
        if self._copying is None and rows - self._rows >= ROWS:
            self._rows = rows
            self._copying = self._thread.submit(_copy, self._connection, "PASSIVE")

    def finish(self) -> None:
        """Before a transaction: if the bulk is copied, copy what has come since."""
        if self._copying is not None and self._copying.done():
            self._copying = None
            _copy(self._connection, "FULL")  # other processes must not write meanwhile, or there is more again

    def close(self) -> None:
        """Wait until what has begun is over."""
        self._thread.shutdown()
        self._connection.close()


def _copy(connection: sqlite3.Connection, mode: str) -> None:
    with suppress(sqlite3.Error):
        connection.execute(f"PRAGMA wal_checkpoint({mode})")
