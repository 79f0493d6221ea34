"""The write-ahead log is copied back beside the commits, and begins anew when all is copied."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.store.contract import Outcome, Session
from dpe_server.store.sqlite import copying_back
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]
ROWS = 100


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying_back, "ROWS", ROWS)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have the thread wait until this is set."""
    go_on = threading.Event()
    copy = copying_back._copy

    def wait_and_copy(connection: sqlite3.Connection, mode: str) -> None:
        assert mode == "FULL" or go_on.wait(60)
        copy(connection, mode)

    monkeypatch.setattr(copying_back, "_copy", wait_and_copy)
    yield go_on
    go_on.set()


def commit(store: SqliteStore, make: Make, count: int) -> None:
    assert store.commit([make() for _ in range(count)]) == [Outcome.COMMITTED] * count


def copied(store: SqliteStore) -> None:
    """Wait until the thread has copied what it began to copy."""
    copying = store._database._copying._copying
    assert copying is not None, "it has begun"
    copying.result(60)


def is_copying(store: SqliteStore) -> bool:
    return store._database._copying._copying is not None


def in_file(path: Path) -> int:
    """Return how many sessions the database has without its log; 0 if it does not even have the table."""
    alone = path.with_name("alone.sqlite")
    alone.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(alone)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'session'").fetchone() is None:
            return 0
        return int(connection.execute("SELECT count(*) FROM session").fetchone()[0])


def begun_anew(path: Path) -> int:
    """Return how often the log has begun anew (https://sqlite.org/fileformat2.html#walformat)."""
    with path.with_name(path.name + "-wal").open("rb") as log:
        return int.from_bytes(log.read(32)[12:16], "big")


def test_a_log_that_is_copied_begins_anew(store: SqliteStore, make: Make, path: Path) -> None:
    commit(store, make, ROWS - 2)  # and one row more, of the server
    assert not is_copying(store)
    assert in_file(path) == 0
    first = begun_anew(path)
    commit(store, make, 1)
    copied(store)
    assert in_file(path) == ROWS - 1
    assert begun_anew(path) == first
    commit(store, make, 1)
    assert begun_anew(path) == first + 1
    assert not is_copying(store)
    assert in_file(path) == ROWS - 1, "the last one is in the log"


def test_the_log_stays_as_small_as_what_is_copied_at_once(store: SqliteStore, make: Make, path: Path) -> None:
    sizes = []
    for _ in range(8):
        while not is_copying(store):
            commit(store, make, 10)
        copied(store)
        sizes.append(path.with_name("dpe.sqlite-wal").stat().st_size)
    assert sizes[-1] <= 1.5 * sizes[1]


def test_what_is_committed_meanwhile_is_copied_by_who_commits_next(store: SqliteStore, make: Make, path: Path) -> None:
    commit(store, make, 50)
    first = begun_anew(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:  # so that no more than this is copied
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM session").fetchone() == (50,)
        commit(store, make, ROWS)
        copied(store)
        assert in_file(path) < 50 + ROWS
    commit(store, make, 1)
    assert in_file(path) == 50 + ROWS
    assert begun_anew(path) == first + 1


def test_nobody_waits_for_the_thread(store: SqliteStore, make: Make, path: Path, held: threading.Event) -> None:
    commit(store, make, ROWS)
    commit(store, make, ROWS)
    assert store.stats(0).live == 2 * ROWS
    assert in_file(path) == 0
    held.set()
    copied(store)
    assert in_file(path) == 2 * ROWS


def test_nobody_who_reads_is_waited_for(store: SqliteStore, make: Make, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM session").fetchone() == (0,)
        commit(store, make, ROWS)
        first = begun_anew(path)
        copied(store)
        commit(store, make, 1)
        assert reader.execute("SELECT count(*) FROM session").fetchone() == (0,)
        assert begun_anew(path) == first
    commit(store, make, ROWS)
    copied(store)
    commit(store, make, 1)
    assert begun_anew(path) == first + 1


def test_nobody_who_writes_is_waited_for(store: SqliteStore, make: Make, path: Path) -> None:
    commit(store, make, ROWS)
    copied(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store._database._copying.finish()  # would wait for ever, or raise an error
        assert not is_copying(store)


def test_what_cannot_be_copied_stays_in_the_log(store: SqliteStore, make: Make, path: Path) -> None:
    store._database._copying._connection.close()
    for _ in range(3):
        commit(store, make, ROWS)
        copied(store)
    with closing(SqliteStore(path)) as again:
        assert again.stats(0).live == 3 * ROWS


def test_a_store_that_is_closed_waits_for_the_thread(
    make: Make, path: Path, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path)
    commit(store, make, ROWS)
    copying = store._database._copying._copying
    assert copying is not None
    thread = store._database._copying._thread
    shutdown = thread.shutdown

    over: list[bool] = []

    def let_go_and_shut_down(**how: bool) -> None:
        held.set()
        shutdown(**how)
        over.append(copying.done())

    monkeypatch.setattr(thread, "shutdown", let_go_and_shut_down)
    store.close()
    assert over == [True]


def test_two_stores_copy_the_same_log(make: Make, path: Path) -> None:
    with closing(SqliteStore(path)) as one, closing(SqliteStore(path)) as other:
        for _ in range(12):
            for store in (one, other):
                commit(store, make, ROWS)
                copied(store)
        assert one.stats(0).live == other.stats(0).live == 24 * ROWS
        assert begun_anew(path) >= 10
