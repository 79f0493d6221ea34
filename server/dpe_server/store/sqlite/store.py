"""The store in one SQLite file (WAL, synchronous=FULL): durable when ``commit`` returns, also over a loss of power.

One connection writes, one reads, each under a lock of its own, so any thread may call anything: the event loop reads
while a worker thread waits for the disk. Other processes (``dpe revoke``, ``dpe sessions``) open the same file; what
they write is seen by the next read.

The sqlite3 module lets go of the interpreter at every step of a statement and, against a busy event loop, may wait 5 ms
to have it back. So ``commit`` takes a few steps for the whole batch and not some for each session: it gets what it
must know as one row, and inserts many rows with one statement.
"""

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import starmap
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from dpe_coap.errors import LocalError
from dpe_coap.messages import Version
from dpe_coap.numbers import SIZE_CLIENT_ID
from dpe_server.store import Confirmed, Outcome, Restriction, Session, StoreError
from dpe_server.store.commit_rules import decide
from dpe_server.store.sqlite import schema, statements

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's write."""
COMMIT_TIMEOUT = 1.5
"""The same for registrations: a device sends again after 2 s at the soonest, and is told by then to wait."""
POLL = 0.001
"""Seconds between two attempts to write. SQLite's own waiting grows to 100 ms, in which others write ten batches."""

CHECKPOINT = 8_192
"""Pages in the WAL (32 MB) at which they are copied into the database: SQLite's own 1,000 are there after five batches,
and every page that many batches have changed would be copied for each of them."""

PRUNE_CHUNK = 500
"""The most sessions that are deleted at once, so that registrations need not wait long."""

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
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "stop the server and restore a backup of the file"),
    sqlite3.SQLITE_NOTADB: (
        "the file is not a database",
        "give the path of another file, or restore a backup of this one",
    ),
    sqlite3.SQLITE_IOERR: ("the disk gives errors", "look in the system's log for the cause"),
    sqlite3.SQLITE_CONSTRAINT: ("a row is not as the store wants it", "this is a defect of dpe-coap: report it"),
}


class _Held(NamedTuple):
    """What ``decide`` must know of a stored session."""

    client_id: bytes
    device: bytes
    ordinal: int
    success_hash: bytes


class SqliteStore:
    """A ``Store`` in the SQLite file ``path``, which is made (mode 0600) or brought to the newest schema if need be."""

    def __init__(self, path: Path | str) -> None:
        """Open; StoreError says why not."""
        self.path = Path(path)
        self._writing = Lock()
        self._reading = Lock()
        with self._answering():
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))  # the WAL takes its mode
            self._writer = self._connect()
            try:
                schema.check(self._writer)  # before anything is changed in a file that may be somebody else's
                # Gives up at once where two processes make the store, for SQLite takes their waiting for a deadlock.
                self._when_free("PRAGMA journal_mode = WAL", BUSY_TIMEOUT)
                schema.migrate(self._writer)
                self._writer.execute("PRAGMA busy_timeout = 0")  # from here on _when_free waits
                self._reader = self._connect()
                self._reader.execute("PRAGMA query_only = ON")
            except BaseException:
                self._writer.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = FULL")  # the first to read the file
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn every error of the database into a StoreError without the statement or its values."""
        try:
            yield
        except StoreError as error:
            raise StoreError(f"{self.path}: {error}", hint=error.hint) from None
        except sqlite3.Error as error:
            what, hint = _FAULTS.get(
                getattr(error, "sqlite_errorcode", 0) & 0xFF, ("the database does not answer", "start again")
            )
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise StoreError(f"{self.path}: {what} ({name})", hint=hint) from None
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}", hint="check the path and who may write there") from None

    @contextmanager
    def _transaction(self, timeout: float) -> Iterator[sqlite3.Connection]:
        with self._writing, self._answering():
            self._when_free("BEGIN IMMEDIATE", timeout)
            with self._writer:  # commits, or rolls back
                yield self._writer

    def _when_free(self, sql: str, timeout: float) -> None:
        """Execute what begins to write; when another process does, try again until ``timeout`` seconds are over."""
        end = time.monotonic() + timeout
        while True:
            try:
                self._writer.execute(sql)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                    raise
                time.sleep(POLL)
            else:
                return

    def _read(self, sql: str, **parameters: Any) -> list[Any]:
        with self._reading, self._answering():
            return self._reader.execute(sql, parameters).fetchall()

    # -- the contract --

    def sessions(self, client_ids: Collection[bytes]) -> dict[bytes, Session]:
        """See ``Store.sessions``."""
        found = map(_session, self._read(statements.SESSIONS, client_ids=_json_ids(client_ids)))
        return {session.client_id: session for session in found}

    def confirmed(self, client_ids: Collection[bytes]) -> dict[bytes, Confirmed]:
        """See ``Store.confirmed``."""
        found = self._read(statements.CONFIRMED, client_ids=_json_ids(client_ids))
        return {client_id.to_bytes(SIZE_CLIENT_ID, "big"): Confirmed(*values) for client_id, *values in found}

    def sessions_of(self, devices: Collection[bytes]) -> dict[bytes, Session]:
        """See ``Store.sessions_of``."""
        found = map(_session, self._read(statements.SESSIONS_OF, devices=b"".join(devices)))
        return {session.device: session for session in found}

    def held(self, client_ids: Collection[int]) -> set[int]:
        """See ``Store.held``."""
        found = self._read(statements.HELD_OF, client_ids=json.dumps(list(client_ids)))
        return {client_id for (client_id,) in found}

    def taken(self, first: int, last: int) -> set[int]:
        """See ``Store.taken``."""
        return {client_id for (client_id,) in self._read(statements.TAKEN, first=first, last=last)}

    def restrictions(self, devices: Collection[bytes]) -> dict[bytes, Restriction]:
        """See ``Store.restrictions``."""
        return {
            device: Restriction(bool(revoked), epoch)
            for device, revoked, epoch in self._read(statements.RESTRICTIONS, devices=b"".join(devices))
        }

    def minimum_epoch(self) -> int:
        """See ``Store.minimum_epoch``."""
        return int(self._read("SELECT minimum_epoch FROM server")[0][0])

    def last_ordinal(self) -> int:
        """See ``Store.last_ordinal``."""
        return int(self._read("SELECT last_ordinal FROM server")[0][0])

    def commit(self, sessions: Sequence[Session]) -> list[Outcome]:
        """See ``Store.commit``."""
        if not sessions:
            return []
        keys = {
            "client_ids": _json_ids([session.client_id for session in sessions]),
            "devices": b"".join(session.device for session in sessions),
        }
        with self._transaction(COMMIT_TIMEOUT) as writer:
            by_client_id, by_device, revoked = map(json.loads, writer.execute(statements.HELD, keys).fetchone())
            held = starmap(_held, (*by_client_id, *by_device))
            verdict = decide(sessions, held, set(map(bytes.fromhex, revoked)))
            if verdict.ended:
                writer.execute(statements.END, (_json_ids(verdict.ended),))
            if verdict.started:
                _put(writer, verdict.started)
                newest = max(session.ordinal for session in verdict.started)
                writer.execute(statements.COUNT_ORDINAL, (newest,))
        return verdict.outcomes

    def close(self) -> None:
        """See ``Store.close``."""
        with self._writing, self._reading, self._answering():
            self._reader.close()
            self._writer.close()

    # -- for operators --

    @property
    def schema_version(self) -> int:
        """The version of the schema in the file."""
        return int(self._read("PRAGMA user_version")[0][0])

    def live(self, now: int) -> Iterator[Session]:
        """Yield the sessions that are live at ``now`` (Unix seconds), all as of one moment, by ascending Client ID."""
        with self._answering(), closing(self._connect()) as connection:
            yield from map(_session, connection.execute(statements.LIVE, (now,)))

    def count(self, now: int) -> int:
        """Return how many sessions are live at ``now`` (Unix seconds)."""
        return int(self._read(statements.COUNT, now=now)[0][0])

    def revoke(self, device: bytes, at: int) -> bool:
        """Put ``device`` (16 bytes) on the revocation list as of ``at`` (Unix seconds) and end its session.

        Returns whether it had one. A device that is on the list already keeps its first date.
        """
        with self._transaction(BUSY_TIMEOUT) as writer:
            writer.execute(statements.REVOKE, (device, at))
            return writer.execute("DELETE FROM session WHERE device = ?", (device,)).rowcount > 0

    def restrict(self, device: bytes, minimum_epoch: int) -> None:
        """Set the lowest key epoch (0 to 255) accepted of ``device`` (16 bytes)."""
        with self._transaction(BUSY_TIMEOUT) as writer:
            writer.execute(statements.RESTRICT, (device, _epoch(minimum_epoch)))

    def set_minimum_epoch(self, minimum_epoch: int) -> None:
        """Set the lowest key epoch (0 to 255) accepted of any device."""
        with self._transaction(BUSY_TIMEOUT) as writer:
            writer.execute("UPDATE server SET minimum_epoch = ?", (_epoch(minimum_epoch),))

    def prune(self, before: int) -> int:
        """Delete sessions that ended before ``before`` (Unix seconds), PRUNE_CHUNK of them at most; return how many."""
        with self._transaction(COMMIT_TIMEOUT) as writer:
            return writer.execute(statements.PRUNE, (before, PRUNE_CHUNK)).rowcount

    def integrity_check(self) -> list[str]:
        """Return what is wrong in the file, a line each; empty: nothing. Reads all of it."""
        return [line for (line,) in self._read("PRAGMA integrity_check") if line != "ok"]


def _epoch(number: int) -> int:
    if not 0 <= number <= 255:
        raise LocalError(f"not a key epoch: {number}", hint="an epoch is 0 to 255")
    return number


def _json_ids(client_ids: Collection[bytes]) -> str:
    return json.dumps([int.from_bytes(client_id, "big") for client_id in client_ids])


def _held(client_id: int, device: str, ordinal: int, success_hash: str) -> _Held:
    name = client_id.to_bytes(SIZE_CLIENT_ID, "big")
    return _Held(name, bytes.fromhex(device), ordinal, bytes.fromhex(success_hash))


def _put(connection: sqlite3.Connection, sessions: Sequence[Session]) -> None:
    """Put sessions in, in pieces that are powers of two long, so that their few statements stay prepared."""
    start = 0
    while start < len(sessions):
        size = min(statements.MAX_PUT, 1 << (len(sessions) - start).bit_length() - 1)
        rows = [value for session in sessions[start : start + size] for value in _row(session)]
        connection.execute(statements.put_sessions(size), rows)
        start += size


def _row(s: Session) -> tuple[Any, ...]:
    """Return a session's values in the order of the columns."""
    return (
        int.from_bytes(s.client_id, "big"),
        s.device,
        s.sealed_imei,
        s.version.major,
        s.version.minor,
        s.firmware,
        s.suite,
        s.rule,
        s.ordinal,
        s.established_at,
        s.expires_at,
        s.th3,
        s.success_hash,
        s.confirm,
        s.sealed_keys,
        s.properties,
        s.policies,
    )


def _session(row: tuple[Any, ...]) -> Session:
    """The inverse of ``_row``."""
    client_id, device, sealed_imei, major, minor, *rest = row
    return Session(client_id.to_bytes(SIZE_CLIENT_ID, "big"), device, sealed_imei, Version(major, minor), *rest)
