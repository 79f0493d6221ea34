"""A PostgreSQL store made from all that another store has."""

# statements are put together from constants

from collections.abc import Iterable, Sequence
from typing import Any

from dpe_server.store.changes import packed
from dpe_server.store.contract import StoreError
from dpe_server.store.nodes import Binding
from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.connection import Connection
from dpe_server.store.postgresql.database import NO_END, Database
from dpe_server.store.postgresql.nodes import bind
from dpe_server.store.whole import COLUMNS, Copied, Whole

_TYPES = {
    **dict.fromkeys(("version_major", "version_minor"), "int4"),
    **dict.fromkeys(("suite", "epoch", "minimum_epoch"), "int2"),
    **dict.fromkeys(
        ("device", "sealed_imei", "firmware", "th3", "success_hash", "confirm", "sealed_keys", "record", "attempt"),
        "bytea",
    ),
    "policies": "bytea",
    "rule": "text",
}
"""Of the columns that are no int8."""
_PLACE = {name: place for place, name in enumerate(COLUMNS)}


def fill(database: Database, whole: Whole, binding: Binding, name: str, now: int) -> Copied:
    """Put all into a new store, which belongs to ``binding`` then; StoreError if there is anything in it already."""

    def fill(connection: Connection) -> Copied:
        with connection.transaction():
            if connection.execute(statements.ANYTHING).fetchall() != [(False,)]:
                raise StoreError(
                    "the database has a store already, and there is something in it",
                    hint="give the URL of an empty database",
                )
            copied = _put(connection, whole)
            bind(connection, binding, name, now)
        return copied

    return database.write(fill, NO_END)


def _put(connection: Connection, whole: Whole) -> Copied:
    newest = whole.dropped
    sessions = traces = restricted = 0
    firmware, client_id, ended_at = _PLACE["firmware"], _PLACE["client_id"], _PLACE["ended_at"]
    imposed = [_PLACE["revoked_at"], _PLACE["minimum_epoch"], _PLACE["policies"]]

    def devices() -> Iterable[Sequence[Any]]:
        nonlocal sessions, traces, restricted
        for row in whole.devices:
            sessions += row[client_id] is not None
            traces += row[ended_at] is not None
            restricted += any(row[place] is not None and row[place] != 0 for place in imposed)
            values = list(row)
            values[firmware] = None if row[firmware] is None else row[firmware].encode()
            yield values

    def changes() -> Iterable[Sequence[Any]]:
        nonlocal newest
        for row in whole.changes:
            newest = row.number
            yield row.number, row.at, packed(row.changed), packed(row.ended)

    _copy(connection, "device", {name: _TYPES.get(name, "int8") for name in COLUMNS}, devices())
    count = _copy(
        connection, "change", {"number": "int8", "at": "int8", "changed": "bytea", "ended": "bytea"}, changes()
    )
    _copy(connection, "beat", {"number": "int8", "random": "bytea"}, whole.beats)
    connection.execute(statements.TAKE_SERVER, (whole.minimum_epoch, whole.history, whole.dropped, newest))
    connection.execute(statements.REACH, (whole.last_ordinal,))
    return Copied(sessions, traces, restricted, count)


def _copy(connection: Connection, table: str, columns: dict[str, str], rows: Iterable[Sequence[Any]]) -> int:
    sql = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    count = 0
    with connection.cursor() as cursor, cursor.copy(sql) as copy:
        copy.set_types(list(columns.values()))
        for row in rows:
            copy.write_row(row)
            count += 1
    return count
