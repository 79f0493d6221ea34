"""Looks at a SQLite file without changing it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from dpe_server.store.contract import Examination, StoreError
from dpe_server.store.sqlite import schema


def examine_file(path: Path, *, thorough: bool) -> Examination:
    """Return what is found in the file; ``thorough`` compares every index with its table. StoreError."""
    check = "integrity_check" if thorough else "quick_check"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            version = schema.version_of(database)
            lines = database.execute(f"PRAGMA {check}").fetchall()
    except sqlite3.Error as error:
        raise StoreError(str(error), hint=f"restore a backup of {path.name}") from None
    return Examination(version, len(schema.STEPS), [line for (line,) in lines if line != "ok"])
