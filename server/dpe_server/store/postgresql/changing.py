"""The changes in the database: read by those who follow them, and dropped when nobody need.

A transaction's change has its own number, and those who read it wait until all transactions with lower ones have ended:
transactions of several nodes become visible in another order than that of any number that they could take.
"""

from dpe_server.store.changes import Changes, Row, Standing, packed, read, unpacked, without_overtaken
from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.parameters import Integers

DROPPED_AT_ONCE = 2_000
"""Sessions in the changes that are looked through at once; those of one commit may be more."""
ROWS_AT_ONCE = 200
"""The most changes that are looked through at once."""


def standing(connection: Connection) -> Standing:
    """See ``Store.standing``."""
    (row,) = connection.execute(statements.STANDING, binary=True).fetchall()
    return Standing(*row)


def after(connection: Connection, number: int, most: int) -> list[Changes]:
    """See ``Store.changes``."""
    rows = _rows(connection, number, most)
    asked = Integers({client_id for row in rows for client_id in row.changed})
    return read(rows, dict(connection.execute(statements.RECORDS, (asked,), binary=True).fetchall()))


def drop(connection: Connection, number: int, before: int) -> int | None:
    """See ``Store.drop_changes``; within a transaction."""
    newest = standing(connection).newest
    rows, seen = [], 0
    for row in _rows(connection, number, ROWS_AT_ONCE):
        if row.number == newest or seen >= DROPPED_AT_ONCE:
            break
        rows.append(row)
        seen += len(row.changed)
    old = [row.number for row in rows if row.at < before]
    asked = Integers({client_id for row in rows if row.at >= before for client_id in row.changed})
    changed_last = dict(connection.execute(statements.CHANGED_LAST, (asked,), binary=True).fetchall())
    gone = list(old)
    for row in rows:
        if row.at >= before:
            cut = without_overtaken(row, changed_last)
            if not cut.changed and not cut.ended:
                gone.append(row.number)
            elif len(cut.changed) < len(row.changed):
                connection.execute(statements.CUT_CHANGE, (packed(cut.changed), row.number))
    if gone:
        connection.execute(statements.DROP_CHANGES, (Integers(gone),))
    if old:
        connection.execute(statements.DROPPED, (max(old),))
    return rows[-1].number if rows else None


def _rows(connection: Connection, number: int, most: int) -> list[Row]:
    """Return changes; in each, a session once, even if several steps of its commit have changed it."""
    found = connection.execute(statements.CHANGES, (number, most), binary=True).fetchall()
    return [
        Row(number, at, list(dict.fromkeys(unpacked(changed))), unpacked(ended)) for number, at, changed, ended in found
    ]
