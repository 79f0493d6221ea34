"""The database of a simulated machine, and how a process opens it: in memory, or the server's own on a real disk."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from dpe_server.store.contract import (
    Change,
    Outcome,
    Revoke,
    Session,
    Store,
    StoreError,
)
from dpe_server.store.questions import Facts, Questions
from dpe_server.store.sqlite import database
from dpe_server.store.sqlite.store import SqliteStore
from dpe_tools.simulation.memory_store import Disk, MemoryStore

BROKEN, UNREADABLE = "broken", "unreadable"
"""The faults of a disk: it cannot be written, or not even be read."""
EVER = -(2**62)
"""A Unix time before any session."""


class Database:
    """What is durable, and the operator's own view of it. ``path`` is the file; without one it is in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._disk = Disk()
        self._store: SqliteStore | MemoryStore = MemoryStore(self._disk) if path is None else SqliteStore(path)

    def open(self, point: Callable[[str], None]) -> Store:
        """Open it for a process; ``point`` is called before a commit and before each write, and may raise."""
        return MemoryStore(self._disk, point) if self._path is None else _Sqlite(self._path, point)

    def rows(self) -> tuple[Session, ...]:
        """Return all sessions that are durable."""
        return self._disk.sessions if self._path is None else tuple(self._store.live(EVER))

    def last_ordinal(self) -> int:
        """See ``Store.last_ordinal``."""
        return self._store.last_ordinal()

    def devices(self) -> set[bytes]:
        """Return the devices that have a session or the trace of one."""
        if self._path is None:
            return {session.device for session in self._disk.sessions} | self._disk.traces.keys()
        with closing(sqlite3.connect(self._path)) as connection:
            return {device for (device,) in connection.execute("SELECT device FROM session")}

    def expire(self, now: int) -> list[int]:
        """End sessions that are over at ``now`` (Unix seconds); return how many."""
        return self._store.expire(now)

    def prune(self, before: int) -> int:
        """Delete traces of sessions that ended before ``before`` (Unix seconds); return how many."""
        return self._store.prune(before)

    def revoke(self, device: bytes, at: int) -> None:
        """Put a device on the revocation list, at this Unix time, and end its session."""
        self._store.commit([Revoke(device, at)])

    def close(self) -> None:
        """Close it."""
        self._store.close()


class _Interrupted(database.Database):
    """A SQLite file; ``point`` is called where a commit may be interrupted from outside."""

    def __init__(self, path: Path, point: Callable[[str], None]) -> None:
        super().__init__(path)
        self._point = point

    @contextmanager
    def transaction(self, patience: float) -> Iterator[sqlite3.Connection]:
        """See ``Database.transaction``."""
        self._point("before the commit")
        with super().transaction(patience) as connection:
            self._point("write")
            yield connection


class _Sqlite(SqliteStore):
    """The server's SQLite store, on a file that may be interrupted."""

    def __init__(self, path: Path, point: Callable[[str], None]) -> None:
        self._database = _Interrupted(path, point)


class FailingStore:
    """The part of a ``Store`` that the batcher uses; it fails when the disk does.

    ``fault`` says what is wrong with the disk, if anything is. ``committed`` is called after a commit.
    """

    def __init__(self, store: Store, fault: Callable[[], str], committed: Callable[[], None]) -> None:
        self._store = store
        self._fault = fault
        self._committed = committed

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        if self._fault() == UNREADABLE:
            raise StoreError("made to fail")
        return self._store.look(questions)

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See ``Store.commit``."""
        if self._fault():
            raise StoreError("made to fail")
        outcomes = self._store.commit(changes)
        self._committed()
        return outcomes

    def close(self) -> None:
        """See ``Store.close``."""
        self._store.close()
