"""The database of a simulated machine, and how a process opens it: in memory, or the server's own on a real disk."""

import copy
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from dpe_server.store.contract import (
    Beat,
    Change,
    Contact,
    Deregister,
    End,
    Outcome,
    Revoke,
    Session,
    Store,
    StoreError,
)
from dpe_server.store.questions import Facts, Questions
from dpe_server.store.sqlite import database
from dpe_server.store.sqlite.copying import remove
from dpe_server.store.sqlite.store import SqliteStore
from dpe_tools.simulation.memory_store import Disk, MemoryStore
from dpe_tools.simulation.session_events import Accepted

BROKEN, UNREADABLE, UNSURE = "broken", "unreadable", "unsure"
"""The faults of a disk: it cannot be written, or not even be read; or it writes, and says that it could not."""
Copy = Disk | bytes
"""Of a database in memory, or of a file."""
EVER = -(2**62)
"""A Unix time before any session."""


class Database:
    """What is durable, and the operator's own view of it. ``path`` is the file; without one it is in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._disk = Disk()
        self._store: SqliteStore | MemoryStore = MemoryStore(self._disk) if path is None else SqliteStore(path)

    def open(self, point: Callable[[str], None], clock: Callable[[], float]) -> Store:
        """Open it for a process; ``point`` is called before a commit and before each write, and may raise.

        ``clock`` is the machine's, in Unix seconds.
        """
        return MemoryStore(self._disk, point, clock) if self._path is None else _Sqlite(self._path, point, clock)

    def serve(
        self,
        point: Callable[[str], None],
        clock: Callable[[], float],
        fault: Callable[[], str],
        told: Callable[[Sequence[Accepted]], None],
    ) -> "Served":
        """Open it for the batcher of a process; see ``FailingStore``."""

        def committed(accepted: Sequence[Accepted]) -> None:
            told(accepted)
            point("after the commit")

        return FailingStore(self.open(point, clock), fault, committed)

    remote = False
    answers = True
    """Whether it can be written now."""

    def now(self, clock: Callable[[], float]) -> float:
        """Return the Unix time by which commits go; ``clock`` is that of a machine that uses it."""
        return clock()

    def settle(self) -> None:
        """Let all commits take effect that were given."""

    def plan(self, revoke: Callable[[bytes], None]) -> None:
        """Draw what goes wrong with it by itself."""

    def calm(self) -> None:
        """Let nothing be wrong with it any more."""

    def rows(self) -> tuple[Session, ...]:
        """Return all sessions that are durable."""
        return self._disk.sessions if self._path is None else tuple(self._store.live(EVER))

    def copy(self) -> Copy:
        """Return a copy of all that is durable."""
        if self._path is None:
            return copy.deepcopy(self._disk)
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.serialize()

    def put_back(self, saved: Copy) -> None:
        """Put a copy in the place of what is there. No process has it open."""
        if isinstance(saved, Disk):
            vars(self._disk).update(vars(copy.deepcopy(saved)))
            return
        assert self._path is not None
        self._store.close()
        remove(self._path)
        self._path.write_bytes(saved)
        self._store = SqliteStore(self._path)

    def beat(self, remembered: Beat | None, random: bytes) -> Beat:
        """See ``Store.beat``."""
        return self._store.beat(remembered, random)

    def recover(self, revoked: Iterable[bytes], at: int, beat: int, random: bytes) -> Beat:
        """Do as ``dpe recover`` does: end all sessions, and impose again what operators have imposed."""
        self._store.recover([Revoke(device, at) for device in revoked], at)
        return self._store.beat_anew(beat, random)

    def last_ordinal(self) -> int:
        """See ``Store.last_ordinal``."""
        return self._store.last_ordinal()

    def devices(self) -> set[bytes]:
        """Return the devices that have a session or the trace of one."""
        if self._path is None:
            return {session.device for session in self._disk.sessions} | self._disk.traces.keys()
        with closing(sqlite3.connect(self._path)) as connection:
            return {device for (device,) in connection.execute("SELECT device FROM session")}

    def expire(self, now: int) -> int:
        """End sessions that are over at ``now`` (Unix seconds); return how many."""
        return len(self._store.expire(now))

    def prune(self, before: int) -> int:
        """Delete traces of sessions that ended before ``before`` (Unix seconds); return how many."""
        return self._store.prune(before)

    def revoke(self, device: bytes, at: int) -> None:
        """Put a device on the revocation list, at this Unix time, and end its session."""
        self._store.commit([Revoke(device, at)])

    def end(self, device: bytes, at: int) -> None:
        """End the session of a device at this Unix time."""
        self._store.commit([End(device, at)])

    def close(self) -> None:
        """Close it."""
        self._store.close()


class _Interrupted(database.Database):
    """A SQLite file with the time of ``clock``; ``point`` is called where a commit may be interrupted from outside."""

    def __init__(self, path: Path, point: Callable[[str], None], clock: Callable[[], float]) -> None:
        super().__init__(path)
        self._point = point
        self._writer.create_function("unixepoch", 0, lambda: int(clock()))  # instead of SQLite's own

    @contextmanager
    def transaction(self, patience: float) -> Iterator[sqlite3.Connection]:
        """See ``Database.transaction``."""
        self._point("before the commit")
        with super().transaction(patience) as connection:
            self._point("write")
            yield connection


class _Sqlite(SqliteStore):
    """The server's SQLite store, on a file that may be interrupted."""

    def __init__(self, path: Path, point: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._database = _Interrupted(path, point, clock)


class Served(Protocol):
    """What a process has of its database."""

    remote: bool

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        ...

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See ``Store.commit``."""
        ...

    def close(self) -> None:
        """See ``Store.close``."""
        ...


class FailingStore:
    """The part of a ``Store`` that the batcher uses; it fails when the disk does.

    ``fault`` says what is wrong with the disk, if anything is. ``committed`` is called after a commit, with the
    requests of sessions that it has accepted.
    """

    def __init__(self, store: Store, fault: Callable[[], str], committed: Callable[[Sequence[Accepted]], None]) -> None:
        self._store = store
        self._fault = fault
        self._committed = committed
        self.remote = store.remote

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        if self._fault() == UNREADABLE:
            raise StoreError("made to fail")
        return self._store.look(questions)

    def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See ``Store.commit``."""
        if self._fault() in (BROKEN, UNREADABLE):
            raise StoreError("made to fail")
        outcomes = self._store.commit(changes)
        self._committed(
            [
                change
                for change, outcome in zip(changes, outcomes, strict=True)
                if isinstance(change, (Contact, Deregister)) and outcome is not Outcome.NOT_ACCEPTED
            ]
        )
        if self._fault() == UNSURE:
            raise StoreError("made to fail, after it has been done")
        return outcomes

    def close(self) -> None:
        """See ``Store.close``."""
        self._store.close()
