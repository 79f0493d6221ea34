"""An open SQLite file: its connections, whose turn it is, and what its errors mean.

One connection writes and one reads, each under a lock of its own. So any thread may call anything: the event loop reads
while the commit thread waits for the disk. A third one copies the write-ahead log back (``copying_back.py``). Other
processes (``dpe revoke``, ``dpe sessions``) open the same file; the next read sees what they have written.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from dpe_server.store.contract import OPERATOR_PATIENCE, ReplacedError, StoreError
from dpe_server.store.sqlite import schema
from dpe_server.store.sqlite.copying_back import CopyingBack

BESIDE = ("-wal", "-shm")
"""What SQLite adds to the file's name for the files beside it: the write-ahead log and its index."""

POLL = 0.001
"""Seconds between two attempts to write. SQLite's own pauses grow to 100 ms; others write ten batches in that time."""

PAGE = 2_048
"""Bytes of a page in a new file; one that is there keeps its own. A commit writes whole pages, and changes few bytes of
each: with SQLite's default of 4,096, one of reports takes a fifth more CPU time. With 1,024, the file grows by a sixth,
and little is won."""

CHECKPOINT = 128 * 1024 * 1024
"""Bytes of pages in the WAL at which a commit copies them into the database, because nobody else has
(``copying_back.py``). SQLite's default of 1,000 pages is reached after a few batches; a page that many batches change
would be copied again and again."""

STATISTICS = ("sqlite_stat1", "sqlite_stat4")
"""What ANALYZE makes."""

PURGE_PATIENCE = 0.5
"""Seconds that a purge waits for those who read."""

_FAULTS = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free space on the file system of the state directory"),
    sqlite3.SQLITE_READONLY: (
        "the database cannot be written",
        "check the owner and mode of the file and its directory, and that its file system is not mounted read-only",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process is writing to the database and does not finish",
        "end the other dpe command that uses this state directory, and try again",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the database cannot be opened",
        "check that its directory exists and who may read and write there",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the database is damaged",
        "stop the server and put a backup back: dpe restore STATE FILE",
    ),
    sqlite3.SQLITE_NOTADB: (
        "the file is not a database",
        "give the path of another file, or put a backup back: dpe restore STATE FILE",
    ),
    sqlite3.SQLITE_IOERR: ("the disk gives errors", "look in the system's log for the cause"),
    sqlite3.SQLITE_CONSTRAINT: ("a row is not as the store wants it", "this is a defect of dpe-coap: report it"),
}


class Database:
    """The SQLite file ``path``. If ``make``, it is made (mode 0600) or brought to the newest schema if need be."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Open; StoreError says why not."""
        self.path = path
        self._writing = Lock()
        self._reading = Lock()
        with self._answering(), ExitStack() as closing:
            if make and not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # the WAL gets the same mode
            if not path.exists():
                raise StoreError("there is no such file", hint="give the path of a store that is there")
            self._identity = _identity(path)
            self._writer = self._connect(closing)
            schema.check(self._writer)  # before anything is changed in a file that may be somebody else's
            if not make:
                schema.check_is_newest(self._writer)
            # SQLite gives up at once where two processes make the store: it takes their waiting for a deadlock.
            self._when_free("PRAGMA journal_mode = WAL", OPERATOR_PATIENCE)
            schema.migrate(self._writer)
            self._writer.execute("PRAGMA busy_timeout = 0")  # from here on _when_free waits
            self._reader = self._connect(closing)
            self._reader.execute("PRAGMA query_only = ON")
            self._copying = CopyingBack(self._connect(closing), self._writer)
            closing.pop_all()  # they stay open until ``close``

    def close(self) -> None:
        """Let go of the file."""
        with self._writing, self._reading, self._answering():
            self._copying.close()
            self._reader.close()
            self._writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection that reads. Each statement sees what is committed when it begins."""
        with self._reading:
            try:  # not _answering: it would be a tenth of the time of a look
                yield self._reader
            except sqlite3.Error as error:
                raise self._said(error) from None

    @contextmanager
    def aside(self) -> Iterator[sqlite3.Connection]:
        """Give a connection of its own that reads, for what takes long: nobody waits for it; ReplacedError."""
        self.check_place()  # or it would be a connection to another file
        with self._answering(), ExitStack() as closing:
            connection = self._connect(closing)
            connection.execute("PRAGMA query_only = ON")
            yield connection

    def prepare_purge(self) -> None:
        """Copy the WAL into the file. Nobody waits for that, but what is committed meanwhile is left to ``purge``."""
        with self.aside() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def purge(self) -> bool:
        """Copy the WAL into the file and cut it to nothing; False while somebody still reads from it.

        The WAL would keep what was deleted long after ``secure_delete`` has overwritten it in the file.
        """
        with self._writing, self._answering():
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")  # most of the work, while others read and write
            end = time.monotonic() + PURGE_PATIENCE
            while self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() >= end:
                    return False
                time.sleep(POLL)
        return True

    def check_place(self) -> None:
        """Raise ReplacedError if another file is in the place of this one, or none: what is written here is lost."""
        try:
            now = _identity(self.path)
        except OSError:
            now = None
        if now != self._identity:
            raise ReplacedError(f"{self.path}: the file was exchanged while it was open")

    def maintain(self) -> None:
        """Check the place (``check_place``), and drop what an ANALYZE of somebody has left.

        By such statistics, SQLite makes a filter of the whole table each time that it looks a batch up.
        """
        self.check_place()
        with self._writing, self._answering():
            there = self._writer.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").fetchone()
            if not there or not self._writer.execute("SELECT 1 FROM sqlite_stat1").fetchone():
                return
        with self.transaction(OPERATOR_PATIENCE) as writer:
            for name in STATISTICS:
                writer.execute(f"DROP TABLE IF EXISTS {name}")  # other connections see that, and forget them
        with self._writing, self._answering():
            self._writer.execute("ANALYZE sqlite_schema")  # has this one forget them, too, and leaves an empty table

    @contextmanager
    def transaction(self, patience: float) -> Iterator[sqlite3.Connection]:
        """Give the connection that writes: it commits in the end, or rolls back when anything is raised.

        ``patience`` is how many seconds to wait for another process that writes.
        """
        with self._writing, self._answering():
            self._copying.finish()
            self._when_free("BEGIN IMMEDIATE", patience)
            with self._writer:  # commits, or rolls back
                yield self._writer
            self._copying.begin()

    def _connect(self, closing: ExitStack) -> sqlite3.Connection:
        """Return a new connection, which ``closing`` closes."""
        connection = sqlite3.connect(
            self.path, timeout=OPERATOR_PATIENCE, isolation_level=None, check_same_thread=False
        )
        closing.callback(connection.close)
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA synchronous = FULL")  # the first statement that reads the file
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT // page}")
        connection.execute("PRAGMA secure_delete = ON")  # whatever this build of SQLite does by itself
        connection.execute("PRAGMA temp_store = MEMORY")  # else pages of a large statement go into a file elsewhere
        return connection

    def _when_free(self, sql: str, patience: float) -> None:
        """Execute a statement that begins to write; while another process writes, retry for ``patience`` seconds."""
        end = time.monotonic() + patience
        while True:
            try:
                self._writer.execute(sql)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                    raise
                time.sleep(POLL)
            else:
                return

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn every error of the database into a StoreError without the statement or its values."""
        try:
            yield
        except StoreError as error:
            raise type(error)(f"{self.path}: {error}", hint=error.hint) from None
        except sqlite3.Error as error:
            raise self._said(error) from None
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}", hint="check the path and who may write there") from None

    def _said(self, error: sqlite3.Error) -> StoreError:
        what, hint = _FAULTS.get(
            getattr(error, "sqlite_errorcode", 0) & 0xFF, ("the database does not answer", "start again")
        )
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return StoreError(f"{self.path}: {what} ({name})", hint=hint)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
