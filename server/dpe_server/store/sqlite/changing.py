"""The changes in the SQLite file: noted in a commit, read by those who follow them, and dropped when nobody need."""

import sqlite3
from dataclasses import dataclass

from dpe_server.store.changes import Changes, Noted, Row, Standing, packed, read, unpacked, without_overtaken
from dpe_server.store.contract import COMMIT_PATIENCE
from dpe_server.store.sqlite import statements
from dpe_server.store.sqlite.database import Database

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


@dataclass(frozen=True, slots=True)
class Cut:
    """What is to be dropped of the changes. It is no less right later: what was overtaken once stays so."""

    last: int | None
    """The number of the last change that was looked through; None: there was none to look through."""
    gone: list[int]
    """Numbers of changes of which nothing stays."""
    shorter: list[Row]
    """What stays of others."""
    dropped: int
    """The highest number of a change that is too old; 0: none is."""


def look_through(reader: sqlite3.Connection, number: int, before: int) -> Cut:
    """Return what is to be dropped of some changes after ``number``; see ``Store.drop_changes``."""
    newest = standing(reader).newest
    old: list[Row] = []
    others: list[Row] = []
    seen, last = 0, None
    for row in _rows(reader, number, ROWS_AT_ONCE):
        if row.number >= newest or seen >= DROPPED_AT_ONCE:
            break
        (old if row.at < before else others).append(row)
        seen += len(row.changed)
        last = row.number
    asked = str(list({client_id for row in others for client_id in row.changed}))
    changed_last = dict(reader.execute(statements.CHANGED_LAST, {"client_ids": asked}).fetchall())
    gone, shorter = [row.number for row in old], []
    for row in others:
        cut = without_overtaken(row, changed_last)
        if not cut.changed and not cut.ended:
            gone.append(cut.number)
        elif len(cut.changed) < len(row.changed):
            shorter.append(cut)
    return Cut(last, gone, shorter, max((row.number for row in old), default=0))


def drop_some(database: Database, number: int, before: int) -> int | None:
    """See ``Store.drop_changes``."""
    with database.aside() as reader:  # most of the work, while others read and write
        cut = look_through(reader, number, before)
    if cut.gone or cut.shorter:
        with database.transaction(COMMIT_PATIENCE) as writer:
            drop(writer, cut)
    return cut.last


def drop(writer: sqlite3.Connection, cut: Cut) -> None:
    """Drop what was found."""
    writer.executemany(statements.CUT_CHANGE, [(packed(row.changed), row.number) for row in cut.shorter])
    writer.execute(statements.DROP_CHANGES, (str(cut.gone),))
    writer.execute(statements.DROPPED, (cut.dropped,))


def _rows(connection: sqlite3.Connection, number: int, most: int) -> list[Row]:
    found = connection.execute(statements.CHANGES, (number, most)).fetchall()
    return [Row(number, at, unpacked(changed), unpacked(ended)) for number, at, changed, ended in found]
