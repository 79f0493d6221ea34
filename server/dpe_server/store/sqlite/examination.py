"""Looks at a SQLite file without changing it: is it sound, and is it the one that a server remembers?"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dpe_server.store.commit_rules import check_beat
from dpe_server.store.contract import (
    Beat,
    Examination,
    MixedError,
    ReplacedError,
    StoreError,
)
from dpe_server.store.sqlite import schema, statements
from dpe_server.store.sqlite.database import BESIDE


def examine_file(path: Path, *, thorough: bool) -> Examination:
    """Return what is found in the file; ``thorough`` compares every index with its table. StoreError."""
    with reading(path) as database:
        return Examination(schema.version_of(database), len(schema.STEPS), faults(database, thorough=thorough))


def verify_file(path: Path, remembered: Beat | None, settled: Beat | None) -> None:
    """Raise StoreError unless the file may be served: a sound store that has the beat that is ``remembered``."""
    check_log(path, settled)
    with reading(path) as database:
        schema.check(database)
        if schema.has_beats(database):
            number = remembered.number if remembered else 0
            found, oldest, _ = database.execute(statements.BEATS, (number,)).fetchone()
            _check(path, remembered, found, oldest)
        else:
            _check(path, remembered, None, None)
        if found_faults := faults(database, thorough=False):
            raise StoreError(
                f"{path}: the database is damaged: {found_faults[0]}", hint="put a backup back: dpe restore STATE FILE"
            )


def check_log(path: Path, settled: Beat | None) -> None:
    """Raise MixedError if the write-ahead log beside the file is that of another.

    It would give a copy that was put back all later beats, and damage it. ``settled`` is the last beat that is known to
    be in the file itself.
    """
    log = path.with_name(path.name + BESIDE[0])
    if settled is not None and log.exists() and log.stat().st_size and not _holds(path, settled):
        raise MixedError(f"{path}: it was put back beside the write-ahead log ({log.name}) of another")


def _check(path: Path, remembered: Beat | None, found: bytes | None, oldest: int | None) -> None:
    try:
        check_beat(remembered, found, oldest)
    except ReplacedError as error:
        raise type(error)(f"{path}: {error}") from None


def _holds(path: Path, beat: Beat) -> bool:
    """Say whether the file alone, without its write-ahead log, has a beat; True if it cannot be read like that."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as database:
            if not schema.has_beats(database):
                return False
            found, oldest, _ = database.execute(statements.BEATS, (beat.number,)).fetchone()
    except sqlite3.Error:  # a power cut may have torn it in the middle of a checkpoint; the log mends that
        return True
    return found == beat.random or (oldest is not None and beat.number < oldest)


def faults(database: sqlite3.Connection, *, thorough: bool) -> list[str]:
    """Return what is damaged, one line for each fault; ``thorough`` compares every index with its table."""
    check = "integrity_check" if thorough else "quick_check"
    return [line for (line,) in database.execute(f"PRAGMA {check}") if line != "ok"]


@contextmanager
def reading(path: Path, *, hint: str = "put a backup back: dpe restore STATE FILE") -> Iterator[sqlite3.Connection]:
    """Open a file, with its write-ahead log, to read it only; StoreError, with ``hint`` if it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except StoreError as error:
        raise type(error)(f"{path}: {error}" if str(path) not in str(error) else str(error), hint=error.hint) from None
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}", hint=hint) from None
