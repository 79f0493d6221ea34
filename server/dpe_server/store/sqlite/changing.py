"""The changes in the SQLite file: noted in a commit, read by those who follow them, and dropped when nobody need."""

import sqlite3

from dpe_server.store.changes import Changes, Noted, Row, Standing, packed, read, unpacked, without_overtaken
from dpe_server.store.sqlite import statements

DROPPED_AT_ONCE = 2_000
"""Sessions in the changes that are looked through at once, for some 10 ms; those of one commit may be more."""
ROWS_AT_ONCE = 200
"""The most changes that are looked through at once."""


def note(writer: sqlite3.Connection, noted: Noted) -> None:
    """Add what a commit changes, if it does."""
    if noted:
        writer.execute(statements.NOTE, (packed(noted.changed), packed(noted.ended)))


def standing(reader: sqlite3.Connection) -> Standing:
    """See ``Store.standing``."""
    return Standing(*reader.execute(statements.STANDING).fetchone())


def after(reader: sqlite3.Connection, number: int, most: int) -> list[Changes]:
    """See ``Store.changes``."""
    rows = _rows(reader, number, most)
    asked = str(list({client_id for row in rows for client_id in row.changed}))
    return read(rows, dict(reader.execute(statements.RECORDS, {"client_ids": asked}).fetchall()))


def drop(writer: sqlite3.Connection, number: int, before: int) -> int | None:
    """See ``Store.drop_changes``."""
    newest = standing(writer).newest
    rows, seen = [], 0
    found = _rows(writer, number, ROWS_AT_ONCE)
    for row in found:
        if row.number == newest or seen >= DROPPED_AT_ONCE:
            break
        rows.append(row)
        seen += len(row.changed)
    old = [row.number for row in rows if row.at < before]
    asked = str(list({client_id for row in rows if row.at >= before for client_id in row.changed}))
    changed_last = dict(writer.execute(statements.CHANGED_LAST, {"client_ids": asked}).fetchall())
    gone = list(old)
    for row in rows:
        if row.at >= before:
            cut = without_overtaken(row, changed_last)
            if not cut.changed and not cut.ended:
                gone.append(row.number)
            elif len(cut.changed) < len(row.changed):
                writer.execute(statements.CUT_CHANGE, (packed(cut.changed), row.number))
    if gone:
        writer.execute(statements.DROP_CHANGES, (str(gone),))
    if old:
        writer.execute(statements.DROPPED, (max(old),))
    return rows[-1].number if rows else None


def _rows(connection: sqlite3.Connection, number: int, most: int) -> list[Row]:
    found = connection.execute(statements.CHANGES, (number, most)).fetchall()
    return [Row(number, at, unpacked(changed), unpacked(ended)) for number, at, changed, ended in found]
