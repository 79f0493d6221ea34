"""Opens the store that a URL names: the one module that knows which databases there are.

``sqlite:PATH`` is a SQLite file; the path is taken as it is, without escapes. ``postgresql://USER@HOST,HOST/DATABASE``
is a PostgreSQL database, which several servers may share; see libpq's documentation for what its URL may say.
"""

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl

from dpe_coap.errors import LocalError
from dpe_server.store.contract import Beat, Examination, Store
from dpe_server.store.nodes import Binding, Durability, Nodes
from dpe_server.store.sqlite import copying, examination
from dpe_server.store.sqlite.database import BESIDE
from dpe_server.store.sqlite.examination import examine_file, verify_file
from dpe_server.store.sqlite.store import SqliteStore
from dpe_server.store.sqlite.whole import whole
from dpe_server.store.whole import Copied

if TYPE_CHECKING:
    from dpe_server.store.postgresql.store import PostgresqlStore


def open_nodes(url: str, *, one_machine: bool = False) -> Nodes:
    """Open of a shared store only what it has of the servers that share it, whatever its schema; StoreError."""
    _need_psycopg()
    from dpe_server.store.postgresql.database import Database
    from dpe_server.store.postgresql.nodes import PostgresqlNodes

    return PostgresqlNodes(Database(url, make=False, one_machine=one_machine, older=True))


def shared_fault(url: object) -> str | None:
    """Return why ``url`` cannot be the URL of a store that several servers share, or None. It never shows the URL."""
    if not isinstance(url, str) or not _is_shared(url) or not url.isprintable():
        return "expected the URL of a PostgreSQL database: postgresql://USER@HOST,HOST/DATABASE"
    place, _, options = url.partition("?")
    user, at, _ = re.split("[/?]", place.partition("://")[2], maxsplit=1)[0].partition("@")
    names = {name for name, _ in parse_qsl(options, keep_blank_values=True)}
    if (at and ":" in user) or names & {"password", "sslpassword"}:
        return "a password does not belong here: put it into the file that PGPASSFILE names"
    return None


def open_store(url: str, *, one_machine: bool = False, binding: Binding | None = None) -> Store:
    """Open a store as it is.

    Raises LocalError if the URL names no store, StoreError if it cannot be opened: it is not there, has not the schema
    of this program, or is a copy that was made as a backup. A PostgreSQL database must have a synchronous standby,
    unless ``one_machine``: the operator says that what a machine loses may be lost. It must be that of ``binding``.
    """
    if _is_shared(url):
        return _postgresql(url, make=False, one_machine=one_machine, binding=binding)
    return SqliteStore(_path(url), make=False)


def make_store(url: str, *, one_machine: bool = False, binding: Binding | None = None) -> Store:
    """Open a store as ``open_store`` does; it is made, for its owner only, or brought to the newest schema if need be.

    Raises LocalError if the URL names no store, StoreError if it cannot be opened.
    """
    if _is_shared(url):
        return _postgresql(url, make=True, one_machine=one_machine, binding=binding)
    return SqliteStore(_path(url))


def nodes_of(store: Store) -> Nodes | None:
    """Return what a store has of the servers that share it; None: it is one server's."""
    return cast(Nodes | None, getattr(store, "nodes", None))


def file_names(name: str) -> tuple[str, ...]:
    """Return the names of all files that the store in the file ``name`` may have; that one is the first."""
    return (name, *(f"{name}{suffix}" for suffix in BESIDE))


def examine(url: str, *, thorough: bool = False) -> Examination:
    """Look for damage in a store without changing it; ``thorough`` looks into every index too, and takes longer.

    Raises LocalError if the URL names no store, StoreError if it cannot be read at all.
    """
    return examine_file(_path(url), thorough=thorough)


def durability_of(url: str, *, one_machine: bool) -> Durability:
    """Look whether a shared store keeps what it has acknowledged, without changing it.

    Raises LocalError if the URL names no store, StoreError if it cannot be read at all.
    """
    _need_psycopg()
    from dpe_server.store.postgresql import examination as postgresql

    return postgresql.durability_of(url, one_machine=one_machine)


def verify(
    url: str,
    remembered: Beat | None,
    settled: Beat | None,
    *,
    one_machine: bool = False,
    binding: Binding | None = None,
) -> None:
    """Refuse a store that must not be served, without changing it; for each million sessions it takes some seconds.

    ReplacedError if it has not the beat that is ``remembered``, or ``settled``, the last one known to be in the file
    itself. StoreError if it is damaged, is a copy that was made as a backup, is not that of ``binding``, or cannot be
    read.
    """
    if _is_shared(url):
        _need_psycopg()
        from dpe_server.store.postgresql.examination import verify_database

        verify_database(url, remembered, binding, one_machine=one_machine)
    else:
        verify_file(_path(url), remembered, settled)


def check_log(url: str, settled: Beat | None) -> None:
    """Raise MixedError if only a part of a store was put back. See ``verify``."""
    examination.check_log(_path(url), settled)


def copy_store(url: str, shared: str, binding: Binding, name: str, now: int, *, one_machine: bool) -> Copied:
    """Make the shared store ``shared`` from all that the SQLite store ``url`` has; StoreError.

    It belongs to ``binding`` then, with the node ``name``. The database must be empty. The store ``url`` must have the
    newest schema, and nobody may write to it.
    """
    _need_psycopg()
    from dpe_server.store.postgresql.database import Database
    from dpe_server.store.postgresql.filling import fill

    with closing(Database(shared, one_machine=one_machine)) as database, whole(_path(url)) as found:
        return fill(database, found, binding, name, now)


def back_up(url: str, copy: Path) -> None:
    """Make a copy of a store, of any schema and perhaps in use, that says in itself that it is one; StoreError."""
    copying.back_up(_path(url), copy)


def take_copy(copy: Path, url: str) -> copying.CopyTold:
    """Make the store ``url`` from a copy, with all that it holds, and say of when it is; StoreError.

    Open it with ``make_store``: its schema may be older.
    """
    return copying.take(copy, _path(url))


def put_in_place(new: str, url: str) -> None:
    """Put the store ``new``, which nobody has open, in the place of the store ``url``; OSError."""
    copying.put_in_place(_path(new), _path(url))


def retire(url: str, suffix: str) -> None:
    """Rename the file of a store that nobody has open: no server takes it for its store then; OSError, StoreError."""
    path = _path(url)
    SqliteStore(path, make=False).close()  # who only read it may have left a write-ahead log, which is empty
    path.rename(path.with_name(path.name + suffix))


def remove(url: str) -> None:
    """Remove a store that nobody has open, if it is there."""
    copying.remove(_path(url))


def _is_shared(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


def _postgresql(url: str, *, make: bool, one_machine: bool, binding: Binding | None) -> "PostgresqlStore":
    _need_psycopg()
    from dpe_server.store.postgresql.store import PostgresqlStore

    store = PostgresqlStore(url, make=make, one_machine=one_machine)
    try:
        if binding is not None:
            store.nodes.check(binding)
    except BaseException:
        store.close()
        raise
    return store


def _need_psycopg() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise LocalError(
            "what speaks with PostgreSQL is not installed", hint="pip install 'dpe-coap[postgresql]'"
        ) from None


def _path(url: str) -> Path:
    scheme, _, path = url.partition(":")  # no error shows the URL: it may hold a password
    if _is_shared(url):
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
