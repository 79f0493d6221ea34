"""Copies of a SQLite store: a backup that says that it is one, a store made from it, and how that gets into its place.

A file that is copied over another by hand meets the write-ahead log that the other has left. SQLite then adds to the
copy what the log has: the copy is gone, or damaged. So files are only exchanged here, and never beside a foreign log.
"""

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from dpe_server.files import durable
from dpe_server.store.contract import StoreError
from dpe_server.store.sqlite import schema
from dpe_server.store.sqlite.database import BESIDE
from dpe_server.store.sqlite.examination import faults, reading


class CopyTold(NamedTuple):
    """What a copy of a store says of itself."""

    made_at: int | None
    """When it was made as a backup; None: it was made in another way."""
    schema: int
    """The version of its schema."""


def back_up(path: Path, copy: Path) -> None:
    """Make a sound copy (mode 0600) of the store ``path``, of any schema, that says that it is one; StoreError.

    The store may be in use. ``copy`` must not exist.
    """
    try:
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise StoreError(f"{copy} is there already", hint="a backup replaces nothing: give another name") from None
    except OSError as error:
        raise StoreError(f"{copy}: {error.strerror}", hint="check the folder and who may write there") from None
    part = copy.with_name(f"{copy.name}.part")
    try:
        with reading(path) as source:
            schema.check(source)
            _copy(source, part, schema.COPY_ID)
        part.rename(copy)
        durable.sync_directory(copy.parent)
    except BaseException as error:
        copy.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(f"{copy}: {error.strerror}", hint="check the disk") from None
        raise


def take(copy: Path, path: Path) -> CopyTold:
    """Make a store ``path`` from a copy that was made as a backup or in any other way; StoreError if it is not sound.

    ``path`` may have to be brought to the newest schema. The copy stays as it is.
    """
    if not copy.exists():
        raise StoreError(f"{copy}: there is no such file", hint="give the path of a backup")
    remove(path)
    try:
        with reading(copy, hint="give the path of a backup that is whole") as source:
            is_backup = schema.is_backup(source)
            if not is_backup:
                schema.check(source)
            told = CopyTold(schema.made_at(source) if is_backup else None, schema.version_of(source))
            if told.schema > len(schema.STEPS):
                raise StoreError(
                    f"it has schema version {told.schema}; this program knows up to {len(schema.STEPS)}",
                    hint="run the newer dpe-coap that made it",
                )
            _copy(source, path, schema.APPLICATION_ID)
    except BaseException:
        remove(path)
        raise
    return told


def put_in_place(new: Path, path: Path) -> None:
    """Put the file ``new``, which nobody has open, in the place of the store ``path``; OSError.

    What the old store has beside its file goes first. So there is never a foreign write-ahead log beside a file.
    """
    if new.with_name(new.name + BESIDE[0]).exists():
        raise StoreError(f"{new}: it is still in use", hint="end the other dpe command, and try again")
    for suffix in BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    durable.sync_directory(path.parent)
    new.rename(path)
    durable.sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a store and all its files."""
    for suffix in ("", *BESIDE):
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink()


def _copy(source: sqlite3.Connection, path: Path, mark: int) -> None:
    """Copy a database, as it is at one moment, into a file of its own that is on the disk when this returns."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        source.backup(target)  # all at once: page by page it would begin again with each commit
        target.execute("PRAGMA journal_mode = DELETE")  # one file
        target.execute("PRAGMA secure_delete = ON")
        target.execute("BEGIN IMMEDIATE")
        target.execute(f"PRAGMA application_id = {mark}")
        target.execute("DROP TABLE IF EXISTS copy")
        if mark == schema.COPY_ID:
            target.execute("CREATE TABLE copy (made_at INTEGER NOT NULL) STRICT")
            target.execute("INSERT INTO copy VALUES (?)", (int(time.time()),))
        target.execute("COMMIT")
        if found := faults(target, thorough=True):
            raise StoreError(f"it is damaged: {found[0]}", hint="take an older backup")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
