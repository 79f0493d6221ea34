"""The store in a PostgreSQL database, which several nodes share: what ``commit`` has made durable is on two machines.

Nothing is remembered here between two calls: a revocation is seen by all nodes at once. A look is one round trip, and
so is the commit of a batch of sessions; a commit of requests is two, as their records are merged here.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from dpe_server.store.changes import Changes, Standing
from dpe_server.store.commit_rules import check_beat, steps
from dpe_server.store.contract import (
    BEATS,
    COMMIT_PATIENCE,
    OPERATOR_PATIENCE,
    PRUNE_CHUNK,
    RECOVERY_GAP,
    Beat,
    Change,
    Contact,
    Deregister,
    Expired,
    Measure,
    Outcome,
    OverridePolicies,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Stats,
)
from dpe_server.store.listing import Listed, Wanted
from dpe_server.store.postgresql import changing, commits, rows, statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.database import NO_END, Database
from dpe_server.store.postgresql.looks import look
from dpe_server.store.postgresql.measures import apply
from dpe_server.store.postgresql.node_statements import COUNT_NODES
from dpe_server.store.postgresql.nodes import PostgresqlNodes
from dpe_server.store.questions import Facts, Questions

CHECKED_AT_ONCE = 10 * PRUNE_CHUNK
"""The most sessions for which ``expire`` notes that they end later than was noted before."""
PAGE = 1_000
"""Sessions that are read at once for a list of all."""
LOOK_PATIENCE = COMMIT_PATIENCE
"""Seconds that a look waits for an answer, and for another host."""


class PostgresqlStore:
    """A ``Store`` in the database that ``url`` names.

    If ``make``, its tables are made or brought to the newest schema if need be. Without a synchronous standby it is
    refused, unless ``one_machine``.
    """

    remote = True  # see ``Store.remote``

    def __init__(self, url: str, *, make: bool = True, one_machine: bool = False) -> None:
        """Open; StoreError or LocalError says why not."""
        self._database = Database(url, make=make, one_machine=one_machine)
        self.nodes = PostgresqlNodes(self._database)

    def wall(self) -> float:
        """See ``Store.wall``. It is read with each write that vouches for what is read, so it is never long ago."""
        return self._database.ahead + time.monotonic()

    def look(self, questions: Questions) -> Facts:
        """See ``Store.look``."""
        if not questions:
            return Facts()
        return self._database.read(lambda connection: look(connection, questions), LOOK_PATIENCE)

    def commit(self, changes: Sequence[Change], *, patience: float = COMMIT_PATIENCE) -> list[Outcome]:
        """See ``Store.commit``.

        Of neighbouring commits that are not done in time, some may take effect later. Those of operators are not given
        again here: a measure that comes late might undo a newer one.
        """
        if not changes:
            return []
        list(steps(changes))  # LocalError before anything is done
        again = all(isinstance(change, (Session, Contact, Deregister)) for change in changes)
        return self._database.write(lambda connection: commits.commit(connection, changes), patience, again=again)

    def last_ordinal(self) -> int:
        """See ``Store.last_ordinal``."""
        return int(self._rows(statements.LAST_ORDINAL)[0][0])

    def expire(self, now: int) -> list[Expired]:
        """See ``Store.expire``."""

        def end(connection: Connection) -> list[Expired]:
            connection.execute(statements.CHECK_LATER, (now, now, CHECKED_AT_ONCE))
            over = connection.execute(statements.EXPIRE, (now, now, PRUNE_CHUNK, now))
            return [Expired._make(one) for one in over]

        return self._database.write(end, OPERATOR_PATIENCE)

    def prune(self, before: int) -> int:
        """See ``Store.prune``."""
        return self._database.write(
            lambda connection: int(connection.execute(statements.PRUNE, (before, PRUNE_CHUNK)).fetchall()[0][0]),
            OPERATOR_PATIENCE,
        )

    def drop_changes(self, after: int, before: int) -> int | None:
        """See ``Store.drop_changes``."""

        def drop(connection: Connection) -> int | None:
            with connection.transaction():
                return changing.drop(connection, after, before)

        return self._database.write(drop, OPERATOR_PATIENCE)

    def prepare_purge(self) -> None:
        """See ``Store.prepare_purge``; there is nothing to prepare."""

    def purge(self) -> bool:
        """See ``Store.purge``. PostgreSQL does that by itself, when its autovacuum comes; its WAL is the operator's."""
        return True

    def beat(self, remembered: Beat | None, random: bytes) -> Beat:
        """See ``Store.beat``. From then on, a database without this beat is refused on each new connection."""

        def beat(connection: Connection) -> Beat:
            connection.execute(statements.ONE_BY_ONE)
            ((found, oldest, _),) = _beats(connection, remembered.number if remembered else 0)
            check_beat(remembered, found, oldest)
            return _append_beat(connection, 0, random)

        return self._beat(beat)

    def close(self) -> None:
        """See ``Store.close``."""
        self._database.close()

    def session(self, client_id: int) -> Session | None:
        """See ``Store.session``."""
        return self._session(statements.SESSION, client_id)

    def session_of(self, device: bytes) -> Session | None:
        """See ``Store.session_of``."""
        return self._session(statements.SESSION_OF, device)

    def _session(self, sql: str, name: int | bytes) -> Session | None:
        found = self._rows(sql, name)
        return rows.session_of(found[0]) if found else None

    def live(self, now: int) -> Iterator[Session]:
        """See ``Store.live``."""
        for page in self._pages(statements.LIVE, [], now):
            yield from map(rows.session_of, page)

    def listed(self, wanted: Wanted, now: int) -> Iterator[Listed]:
        """See ``Store.listed``."""
        for page in self._pages(*statements.listed(wanted), now):
            yield from map(rows.listed_of, page)

    def next_listed(self, after: int, most: int) -> list[Listed]:
        """See ``Store.next_listed``."""
        return [rows.listed_of(row) for row in self._rows(statements.NEXT, after, most)]

    def count(self, wanted: Wanted, now: int) -> int:
        """See ``Store.count``."""
        sql, values = statements.count(wanted)
        return int(self._rows(sql, -1, now, *values)[0][0])

    def _pages(self, sql: str, values: Sequence[int | str], now: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield sessions by their Client IDs, which are the first column, PAGE of them at once.

        Nothing is open between two pages, however long the caller takes for one.
        """
        last, more = -1, True
        while more:
            found = self._rows(sql, last, now, *values, PAGE)
            yield found
            more = len(found) == PAGE
            last = found[-1][0] if more else last

    def standing(self) -> Standing:
        """See ``Store.standing``."""
        return self._database.read(changing.standing)

    def changes(self, after: int, most: int) -> list[Changes]:
        """See ``Store.changes``. Those of a moment ago may come later: see ``changing.py``."""
        return self._database.read(lambda connection: changing.after(connection, after, most))

    def stats(self, now: int) -> Stats:
        """See ``Store.stats``."""
        ((sessions, over, traces, revoked),) = self._rows(statements.COUNT, now, now)
        return Stats(live=sessions - over, ended=over + traces, revoked=revoked)

    def measures(self) -> Iterator[Measure]:
        """See ``Store.measures``."""
        last, more = b"", True
        while more:
            found = self._rows(statements.MEASURES, last, PAGE)
            for device, revoked_at, epoch, policies in found:
                if revoked_at is not None:
                    yield Revoke(device, revoked_at)
                if epoch:
                    yield RestrictEpoch(device, epoch)
                if policies is not None:
                    yield OverridePolicies(device, policies)
            more = len(found) == PAGE
            last = found[-1][0] if more else last
        ((epoch,),) = self._rows(statements.MINIMUM_EPOCH)
        if epoch:
            yield SetMinimumEpoch(epoch)

    def recover(self, measures: Iterable[Measure], at: int) -> int:
        """See ``Store.recover``."""
        imposed = list(measures)
        list(steps(imposed))

        def recover(connection: Connection) -> int:
            with connection.transaction():
                ended = connection.execute(statements.END_ALL, (at,)).rowcount
                connection.execute(statements.MOVE_ORDINAL, (RECOVERY_GAP,))
                connection.execute(statements.MOVE_NUMBER, (RECOVERY_GAP,))
                connection.execute(statements.NEW_HISTORY)
                connection.execute(statements.FORGET_CHANGES, (changing.standing(connection).newest,))
                for measure in imposed:
                    apply(connection, measure)
            return ended

        return self._database.write(recover, NO_END)

    def beat_anew(self, after: int, random: bytes) -> Beat:
        """See ``Store.beat_anew``."""

        def beat(connection: Connection) -> Beat:
            connection.execute(statements.ONE_BY_ONE)
            return _append_beat(connection, after, random)

        return self._beat(beat)

    def _beat(self, act: Callable[[Connection], Beat]) -> Beat:
        def beat(connection: Connection) -> Beat:
            with connection.transaction():
                return act(connection)

        beaten = self._database.write(beat, OPERATOR_PATIENCE)
        self._database.beat = beaten
        return beaten

    def _rows(self, sql: str, *values: int | str | bytes) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(sql, values, binary=True).fetchall())


def _beats(connection: Connection, number: int) -> list[tuple[Any, ...]]:
    return connection.execute(statements.BEATS, (number,), binary=True).fetchall()


def _append_beat(connection: Connection, after: int, random: bytes) -> Beat:
    ((_, _, newest),) = _beats(connection, 0)
    beat = Beat(max(after, newest or 0) + 1, random)
    connection.execute(statements.BEAT, beat)
    ((nodes,),) = connection.execute(COUNT_NODES).fetchall()
    connection.execute(statements.FORGET_BEATS, (beat.number - BEATS * max(1, nodes),))
    return beat
