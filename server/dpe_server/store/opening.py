"""Opens the store that a URL names: the one module that knows which databases there are.

``sqlite:PATH`` is a SQLite file; the path is taken as it is, without escapes.
"""

from pathlib import Path

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


def open_store(url: str) -> Store:
    """Open a store as it is.

    Raises LocalError if the URL names no store, StoreError if it cannot be opened: it is not there, has not the schema
    of this program, or is a copy that was made as a backup.
    """
    return SqliteStore(_path(url), make=False)


def make_store(url: str) -> Store:
    """Open a store. It is made, for its owner only, or brought to the newest schema if need be.

    Raises LocalError if the URL names no store, StoreError if it cannot be opened.
    """
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


def _path(url: str) -> Path:
    scheme, _, path = url.partition(":")  # no error shows the URL: it may hold a password
    if scheme != "sqlite":
        raise LocalError("there is no such kind of store", hint="give its URL: sqlite:PATH")
    if not path:
        raise LocalError("the store's URL has no path", hint="give its URL: sqlite:PATH")
    return Path(path)
