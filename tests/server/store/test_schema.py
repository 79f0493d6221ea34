"""The schema's versions, and files that are not a store."""

import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.store.contract import Session, StoreError
from dpe_server.store.opening import examine
from dpe_server.store.sqlite import schema
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]
NEXT = (
    "CREATE TABLE later (one INTEGER PRIMARY KEY) STRICT",
    "ALTER TABLE session ADD COLUMN later INTEGER NOT NULL DEFAULT 7",
)


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def version(path: Path) -> int:
    return examine(f"sqlite:{path}").schema


def objects(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def test_a_new_store_has_the_newest_schema_and_is_for_its_owner_only(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        assert version(path) == len(schema.STEPS)
        for connection in (store._database._writer, store._database._reader):
            assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == {"dpe.sqlite": 0o600, "dpe.sqlite-wal": 0o600, "dpe.sqlite-shm": 0o600}


@pytest.mark.parametrize("older", range(len(schema.STEPS) + 1))
def test_every_older_version_is_brought_to_the_newest(path: Path, connection: sqlite3.Connection, older: int) -> None:
    schema.migrate(connection, schema.STEPS[:older])
    assert schema.version_of(connection) == older
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.migrate(fresh)
        assert version(path) == len(schema.STEPS)
        assert objects(store._database._reader) == objects(fresh)


def test_what_is_stored_outlives_a_migration(store: SqliteStore, make: Make, path: Path) -> None:
    session = make()
    store.commit([session])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        schema.migrate(other, (*schema.STEPS, NEXT))
    assert list(store.live(-1)) == [session]
    assert store._database._reader.execute("SELECT later FROM session").fetchall() == [(7,)]


def test_a_migration_that_fails_changes_nothing(connection: sqlite3.Connection) -> None:
    schema.migrate(connection)
    before = objects(connection)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, (*schema.STEPS, (*NEXT, "no SQL")))
    assert objects(connection) == before
    assert schema.version_of(connection) == len(schema.STEPS)


def test_a_store_of_a_newer_program_is_left_alone(path: Path, connection: sqlite3.Connection) -> None:
    schema.migrate(connection, (*schema.STEPS, NEXT))
    connection.close()
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match=rf"schema version {len(schema.STEPS) + 1}; this program knows up to"
    ) as caught:
        SqliteStore(path)
    assert "newer dpe-coap" in caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("statement", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 1"])
def test_the_database_of_another_program_is_left_alone(
    path: Path, connection: sqlite3.Connection, statement: str
) -> None:
    connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is not a DPE store"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"something else altogether" * 100)
    with pytest.raises(StoreError, match="is not a database"):
        SqliteStore(path)
    assert path.read_bytes() == b"something else altogether" * 100


def test_many_may_open_a_new_store_at_once(path: Path) -> None:
    opened: list[int] = []
    start = threading.Barrier(8)

    def open_it() -> None:
        start.wait()
        with closing(SqliteStore(path)):
            opened.append(version(path))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [len(schema.STEPS)] * 8


def test_it_waits_for_another_that_makes_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("dpe_server.store.sqlite.database.time.sleep", lambda seconds: other.execute("ROLLBACK"))
        with closing(SqliteStore(path)):
            assert version(path) == len(schema.STEPS)
        assert not other.in_transaction, "it has waited"
