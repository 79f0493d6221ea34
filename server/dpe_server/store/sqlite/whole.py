"""All that a SQLite store has, for another store."""

# ruff: noqa: S608  # statements are put together from constants

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpe_server.store.changes import Row, unpacked
from dpe_server.store.contract import Beat
from dpe_server.store.sqlite.examination import reading
from dpe_server.store.whole import IMPOSED, SESSION, Whole

_DEVICES = (
    f"SELECT {', '.join(f's.{name}' for name in SESSION)}, revoked_at, coalesce(minimum_epoch, 0), policies"
    " FROM session AS s LEFT JOIN restriction AS r ON r.device = s.device"
    f" UNION ALL SELECT {', '.join('device' if name == 'device' else 'NULL' for name in SESSION)}, {', '.join(IMPOSED)}"
    " FROM restriction AS r WHERE device <> zeroblob(16) AND NOT EXISTS (SELECT 1 FROM session WHERE device = r.device)"
)
_CHANGES = "SELECT number, at, changed, ended FROM change ORDER BY number"
_SERVER = "SELECT history, dropped, minimum_epoch, last_ordinal FROM server"


@contextmanager
def whole(path: Path) -> Iterator[Whole]:
    """Read all that the store ``path`` has, whose schema is the newest, as of one moment; StoreError."""
    with reading(path) as database:
        database.execute("BEGIN")
        ((history, dropped, minimum_epoch, last_ordinal),) = database.execute(_SERVER).fetchall()
        beats = [Beat(*beat) for beat in database.execute("SELECT number, random FROM beat ORDER BY number")]
        yield Whole(
            database.execute(_DEVICES), _changes(database), beats, history, dropped, minimum_epoch, last_ordinal
        )


def _changes(database: sqlite3.Connection) -> Iterator[Row]:
    for number, at, changed, ended in database.execute(_CHANGES):
        yield Row(number, at, unpacked(changed), unpacked(ended))
