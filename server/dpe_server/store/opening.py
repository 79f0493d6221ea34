"""Opens the store that a URL names: the one module that knows which databases there are.

``sqlite:PATH`` is a SQLite file; the path is taken as it is, without escapes.
"""

from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_server.store.contract import Examination, Store
from dpe_server.store.sqlite.database import BESIDE
from dpe_server.store.sqlite.examination import examine_file
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


def _path(url: str) -> Path:
    scheme, _, path = url.partition(":")  # no error shows the URL: it may hold a password
    if scheme != "sqlite":
        raise LocalError("there is no such kind of store", hint="give its URL: sqlite:PATH")
    if not path:
        raise LocalError("the store's URL has no path", hint="give its URL: sqlite:PATH")
    return Path(path)
