"""Opens the store that a URL names: the one module that knows which databases there are.

``sqlite:PATH`` is a SQLite file; the path is taken as it is, without escapes. ``postgresql://USER@HOST,HOST/DATABASE``
is a PostgreSQL database, which several servers may share; see libpq's documentation for what its URL may say.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dpe_coap.errors import LocalError
from dpe_server.store.contract import (
    Beat,
    CopyTold,
    Examination,
    Store,
)
from dpe_server.store.sqlite import copying, examination
from dpe_server.store.sqlite.database import BESIDE
from dpe_server.store.sqlite.examination import examine_file, verify_file
from dpe_server.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from dpe_server.store.postgresql.store import PostgresqlStore


def open_store(url: str, *, one_machine: bool = False) -> Store:
    """Open a store as it is.

    Raises LocalError if the URL names no store, StoreError if it cannot be opened: it is not there, has not the schema
    of this program, or is a copy that was made as a backup. A PostgreSQL database must have a synchronous standby,
    unless ``one_machine``: the operator says that what a machine loses may be lost.
    """
    if _is_postgresql(url):
        return _postgresql(url, make=False, one_machine=one_machine)
    return SqliteStore(_path(url), make=False)


def make_store(url: str, *, one_machine: bool = False) -> Store:
    """Open a store as ``open_store`` does; it is made, for its owner only, or brought to the newest schema if need be.

    Raises LocalError if the URL names no store, StoreError if it cannot be opened.
    """
    if _is_postgresql(url):
        return _postgresql(url, make=True, one_machine=one_machine)
    return SqliteStore(_path(url))


def file_names(name: str) -> tuple[str, ...]:
    """Return the names of all files that the store in the file ``name`` may have; that one is the first."""
    return (name, *(f"{name}{suffix}" for suffix in BESIDE))


def examine(url: str, *, thorough: bool = False) -> Examination:
    """Look for damage in a store without changing it; ``thorough`` looks into every index too, and takes longer.

    Raises LocalError if the URL names no store, StoreError if it cannot be read at all.
    """
    return examine_file(_path(url), thorough=thorough)


def verify(url: str, remembered: Beat | None, settled: Beat | None) -> None:
    """Refuse a store that must not be served, without changing it; for each million sessions it takes some seconds.

    ReplacedError if it has not the beat that is ``remembered``, or ``settled``, the last one known to be in the file
    itself. StoreError if it is damaged, is a copy that was made as a backup, or cannot be read.
    """
    verify_file(_path(url), remembered, settled)


def check_log(url: str, settled: Beat | None) -> None:
    """Raise MixedError if only a part of a store was put back. See ``verify``."""
    examination.check_log(_path(url), settled)


def back_up(url: str, copy: Path) -> None:
    """Make a copy of a store, of any schema and perhaps in use, that says in itself that it is one; StoreError."""
    copying.back_up(_path(url), copy)


def take_copy(copy: Path, url: str) -> CopyTold:
    """Make the store ``url`` from a copy, with all that it holds, and say of when it is; StoreError.

    Open it with ``make_store``: its schema may be older.
    """
    return copying.take(copy, _path(url))


def put_in_place(new: str, url: str) -> None:
    """Put the store ``new``, which nobody has open, in the place of the store ``url``; OSError."""
    copying.put_in_place(_path(new), _path(url))


def remove(url: str) -> None:
    """Remove a store that nobody has open, if it is there."""
    copying.remove(_path(url))


def _is_postgresql(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


def _postgresql(url: str, *, make: bool, one_machine: bool) -> "PostgresqlStore":
    try:
        from dpe_server.store.postgresql.store import PostgresqlStore
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise LocalError(
            "what speaks with PostgreSQL is not installed", hint="pip install 'dpe-coap[postgresql]'"
        ) from None
    return PostgresqlStore(url, make=make, one_machine=one_machine)


def _path(url: str) -> Path:
    scheme, _, path = url.partition(":")  # no error shows the URL: it may hold a password
    if _is_postgresql(url):
        raise LocalError(
            "this store is no file of ours",
            hint="examine, back up and restore a PostgreSQL database with PostgreSQL's own tools",
        )
    if scheme != "sqlite":
        raise LocalError(
            "there is no such kind of store", hint="give its URL: sqlite:PATH, or postgresql://USER@HOST/DATABASE"
        )
    if not path:
        raise LocalError("the store's URL has no path", hint="give its URL: sqlite:PATH")
    return Path(path)
