"""A PostgreSQL database in use: its two connections, what is done when one is lost, and when that is too late.

One connection writes and one reads, each under a lock of its own, as with SQLite. A lost connection is made again, to
another host if there is one, until patience ends. What was under way is then given again: a commit of sessions and
requests may be given any number of times. Where its answer never came, its outcome is unknown, not a failure.

A primary that was stopped, or cut off, does not know that another has taken its place. It goes on to answer reads; only
writes hang, as no standby acknowledges them. So what is read counts only together with a write that was acknowledged
just before, or after.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

import psycopg

from dpe_server.store.commit_rules import check_beat
from dpe_server.store.contract import Beat, CommitUnknown, ReplacedError, StoreError
from dpe_server.store.postgresql import schema, statements
from dpe_server.store.postgresql.connection import Connection, check_durability, connect, places_of
from dpe_server.store.postgresql.faults import said, said_at_connect

_Result = TypeVar("_Result")

PAUSE = 0.02
"""Seconds between two attempts to reach a database that cannot be reached."""
NO_END = float("inf")
READ_PATIENCE = 5.0
"""Seconds that a read waits for an answer, and for another host."""
ACKNOWLEDGED_WITHIN = 1.0
"""Seconds in which a standby must acknowledge the write that is made for that alone. Then it is another host's turn."""
FRESH = 1.0
"""Seconds for which an acknowledged write vouches for what is read: no standby is promoted sooner after it."""

_READ_ONLY = "25006"


class UnreachableError(StoreError):
    """No connection was made."""


class Database:
    """The database that ``url`` names. If ``make``, its tables are made or brought to the newest schema if need be.

    If not, its schema must be the newest, or, if ``older``, one that this program knows. It must have a synchronous
    standby, unless ``one_machine``.
    """

    def __init__(self, url: str, *, make: bool = True, one_machine: bool = False, older: bool = False) -> None:
        """Open; StoreError or LocalError says why not."""
        self._places = places_of(url)
        self._one_machine = one_machine
        self.beat: Beat | None = None
        """The last beat that was written here: a database that has it no more has lost what it had acknowledged."""
        self.ahead = time.time() - time.monotonic()
        """Seconds by which the clock of the database is ahead of the monotonic one here."""
        self._writer = _Line(self)
        self._reader = _Line(self)
        for _ in self._places[1:]:
            with suppress(UnreachableError):
                self._writer.prepare(make=make, older=older)
                return
        self._writer.prepare(make=make, older=older)

    def read(self, act: Callable[[Connection], _Result], patience: float | None = None) -> _Result:
        """Have ``act`` read within ``patience`` seconds, or READ_PATIENCE; StoreError.

        It reads again on another connection if one is lost.
        """
        return self._reader.run(act, READ_PATIENCE if patience is None else patience)

    @staticmethod
    def peek(url: str) -> Connection:
        """Connect to look at settings only: nothing is written, so what is read may be of a primary that is none."""
        *others, last = places_of(url)
        for place in others:
            with suppress(psycopg.Error):
                return _begun(connect(place))
        try:
            return _begun(connect(last))
        except psycopg.Error as error:
            raise said_at_connect(error) from None

    def write(self, act: Callable[[Connection], _Result], patience: float, *, again: bool = False) -> _Result:
        """Have ``act`` write within ``patience`` seconds.

        ``again``: what it does may be done any number of times. Raises StoreError when nothing has happened, and
        CommitUnknown when that is not known.
        """
        return self._writer.run(act, patience, writes=True, again=again)

    def close(self) -> None:
        """Close both connections."""
        self._writer.close()
        self._reader.close()

    def connected(self) -> tuple[dict[str, Any], Connection]:
        """Connect to the first host, which becomes the last if it cannot be used; StoreError."""
        place = self._places[0]
        try:
            return place, connect(place)
        except psycopg.Error as error:
            self.avoid(place)
            fault = said_at_connect(error)
            raise UnreachableError(str(fault), hint=fault.hint) from None

    def make(self, connection: Connection) -> None:
        """Make the tables, or bring them to the newest schema, if a commit of that is durable; StoreError."""
        check_durability(connection, one_machine=self._one_machine)
        if schema.version_of(connection) == 0:
            # To make them takes no time. If it does, a standby does not acknowledge them.
            connection.begin(time.monotonic() + READ_PATIENCE)
        schema.migrate(connection)

    def avoid(self, place: dict[str, Any]) -> None:
        """Try a host after all others from now on."""
        if self._places[0] is place:
            self._places = [*self._places[1:], place]

    def greet(self, connection: Connection, within: float) -> None:
        """See that a new connection may be used. Before anything is read on it, the standby acknowledges a write.

        It has ``within`` seconds for that.
        """
        check_durability(connection, one_machine=self._one_machine)
        self.acknowledge(connection, within)
        if connection.warned:
            raise StoreError("the standby may not have what is committed", hint="look in the database's log")
        connection.execute(statements.LEAP)
        if (beat := self.beat) is not None:
            ((found, oldest, _),) = connection.execute(statements.BEATS, (beat.number,), binary=True).fetchall()
            check_beat(beat, found, oldest)

    def vouch(self, connection: Connection) -> None:
        """See that what was read was read at the primary; psycopg.Error."""
        if connection.committed:
            connection.acknowledged = connection.begun
        elif time.monotonic() - connection.acknowledged > FRESH:
            self.acknowledge(connection, ACKNOWLEDGED_WITHIN)

    def acknowledge(self, connection: Connection, within: float) -> None:
        """Have the standby acknowledge a write; psycopg.Error. If it has not, ``warned`` says so."""
        begun = time.monotonic()
        connection.deadline = min(connection.deadline, begun + within)
        ((now,),) = connection.execute(statements.BARRIER, prepare=True, binary=True).fetchall()
        if not connection.warned:
            connection.acknowledged = begun
            self.ahead = now - begun


class _Line:
    """One connection, for one thread at a time, made when it is needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._place: dict[str, Any] = {}
        self._connection: Connection | None = None
        self._closed = False

    def prepare(self, *, make: bool, older: bool) -> None:
        """Connect, and make or check the tables."""
        self._place, self._connection = self._database.connected()
        try:
            if make:
                self._database.make(self._connection)
            else:
                check = schema.check_is_store if older else schema.check_is_newest
                check(schema.version_of(self._connection))
            self._connection.begin(time.monotonic() + READ_PATIENCE)
            self._database.greet(self._connection, READ_PATIENCE)
            if make:
                with self._connection.transaction():
                    self._connection.execute(statements.ONE_BY_ONE)
                    self._connection.execute(statements.CATCH_UP)
        except psycopg.Error as error:
            self._drop()
            raise said(error) from None
        except BaseException:
            self._drop()
            raise

    def run(
        self, act: Callable[[Connection], _Result], patience: float, *, writes: bool = False, again: bool = True
    ) -> _Result:
        """See ``Database.read`` and ``Database.write``."""
        end = time.monotonic() + patience
        unknown = False
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed", hint="open it again")
            while True:
                try:
                    connection = self._open(end)
                except ReplacedError:
                    raise
                except StoreError as error:
                    fault = error
                    time.sleep(min(PAUSE, max(0.0, end - time.monotonic())))
                else:
                    acted = False
                    try:
                        result = act(connection)
                        acted = writes
                        self._database.vouch(connection)
                        if not connection.warned:
                            return result
                        fault = StoreError("the standby may not have it", hint="look in the database's log")
                    except psycopg.Error as error:
                        fault = said(error)
                        if not connection.closed and error.sqlstate != _READ_ONLY:
                            raise _unknown(fault) if connection.committed or acted or unknown else fault from None
                        lost = connection.closed or connection.committed or acted
                    except StoreError as error:
                        raise _unknown(error) if connection.committed or unknown else error from None
                    except BaseException:
                        self._drop()  # it may be anywhere in what it does
                        raise
                    else:
                        lost = True
                    self._drop()
                    self._database.avoid(self._place)
                    unknown = unknown or (writes and lost)
                    if unknown and not again:
                        raise _unknown(fault) from None
                if time.monotonic() >= end:
                    raise _unknown(fault) if unknown else fault from None

    def close(self) -> None:
        """Close the connection, for good."""
        with self._lock:
            self._closed = True
            self._drop()

    def _open(self, end: float) -> Connection:
        """Return the connection, which is made if there is none, for something that is over at ``end``."""
        if self._connection is None or self._connection.closed:
            self._drop()
            self._place, self._connection = self._database.connected()
            self._connection.begin(end)
            try:
                self._database.greet(self._connection, ACKNOWLEDGED_WITHIN)
            except BaseException as error:
                self._drop()
                self._database.avoid(self._place)
                if isinstance(error, psycopg.Error):
                    raise said(error) from None
                raise
        self._connection.begin(end)
        return self._connection

    def _drop(self) -> None:
        """Shut the connection. Nothing is cancelled: what it was doing goes on until it is done or fails."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _begun(connection: Connection) -> Connection:
    connection.begin(time.monotonic() + READ_PATIENCE)
    return connection


def _unknown(fault: StoreError) -> CommitUnknown:
    return CommitUnknown(f"it is not known whether it was committed: {fault}", hint="it may be given again")
