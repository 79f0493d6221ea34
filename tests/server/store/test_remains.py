"""Nothing is left on the disk of what has ended, and nobody who reads makes the write-ahead log grow."""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dpe_server.store.contract import (
    End,
    Forget,
    ReplacedError,
    Revoke,
    Session,
)
from dpe_server.store.sqlite import database
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def secrets_of(session: Session) -> list[bytes]:
    return [session.sealed_keys, session.confirm, session.success_hash, session.sealed_imei, session.th3]


ENDINGS: dict[str, Callable[[SqliteStore, list[Session], Make], object]] = {
    "revoked": lambda store, sessions, make: store.commit([Revoke(s.device, 1) for s in sessions]),
    "ended": lambda store, sessions, make: store.commit([End(s.device, 1) for s in sessions]),
    "forgotten": lambda store, sessions, make: store.commit([Forget(s.device, 1) for s in sessions]),
    "expired": lambda store, sessions, make: [store.expire(2**40) for _ in range(3)],
    "recovered": lambda store, sessions, make: store.recover((), 1),
    "registered anew": lambda store, sessions, make: store.commit([make(device=s.device) for s in sessions]),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())
def test_nothing_is_left_of_an_ended_session_after_a_purge(
    store: SqliteStore, make: Make, path: Path, end: Callable[[SqliteStore, list[Session], Make], object]
) -> None:
    sessions = [make(firmware="f" * (n % 60)) for n in range(600)]
    for start in range(0, 600, 50):
        store.commit(sessions[start : start + 50])
    random.Random(1).shuffle(sessions)
    before = on_disk(path)
    assert all(secret in before for session in sessions for secret in secrets_of(session)), "so the search finds them"
    end(store, sessions, make)
    assert store.purge()
    after = on_disk(path)
    assert [secret for session in sessions for secret in secrets_of(session) if secret in after] == []


def test_what_is_deleted_is_overwritten_whatever_sqlite_does_by_itself(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for connection in (store._database._writer, store._database._reader):
        assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)
        assert connection.execute("PRAGMA temp_store").fetchone() == (2,)
    asked: list[str] = []

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            asked.append(sql)
            return super().execute(sql, *parameters)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(
        "dpe_server.store.sqlite.database.sqlite3.connect",
        lambda *given, **named: connect(*given, **named, factory=Connection),
    )
    SqliteStore(store._database.path).close()
    assert asked.count("PRAGMA secure_delete = ON") == 3, "each connection asks for it"


@pytest.mark.parametrize("page", [None, 4_096])
def test_a_commit_copies_the_log_back_at_one_size_whatever_a_page_has(path: Path, page: int | None) -> None:
    if page is not None:  # an earlier version made the file
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA page_size = {page}")
            connection.execute("PRAGMA journal_mode = WAL")
    with closing(SqliteStore(path)) as store:
        for connection in (store._database._writer, store._database._reader):
            assert connection.execute("PRAGMA page_size").fetchone() == (page or database.PAGE,)
            (pages,) = connection.execute("PRAGMA wal_autocheckpoint").fetchone()
            assert pages * (page or database.PAGE) == database.CHECKPOINT == 128 << 20


def test_a_purge_waits_for_readers_and_says_when_they_do_not_finish(
    store: SqliteStore, make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [make() for _ in range(50)]
    store.commit(sessions)
    slept: list[float] = []
    monkeypatch.setattr("dpe_server.store.sqlite.database.time.monotonic", lambda: sum(slept))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM session").fetchone()
        store.commit([End(session.device, 1) for session in sessions])
        monkeypatch.setattr("dpe_server.store.sqlite.database.time.sleep", slept.append)
        assert not store.purge()
        assert sum(slept) == pytest.approx(database.PURGE_PATIENCE, abs=2 * database.POLL)
        assert sessions[0].sealed_keys in on_disk(path)
        monkeypatch.setattr("dpe_server.store.sqlite.database.time.sleep", lambda seconds: reader.execute("ROLLBACK"))
        slept.clear()
        assert store.purge()
    assert sessions[0].sealed_keys not in on_disk(path)


def test_a_purge_is_prepared_beside_one_who_reads_and_one_who_writes(
    store: SqliteStore, make: Make, path: Path
) -> None:
    sessions = [make() for _ in range(500)]
    store.commit(sessions)
    assert sessions[-1].sealed_keys not in path.read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as other, store._database.reading():
        other.execute("BEGIN IMMEDIATE")
        store.prepare_purge()
        in_file = path.read_bytes()
        assert [session for session in sessions if session.sealed_keys not in in_file] == []
        other.execute("ROLLBACK")
    assert path.with_name("dpe.sqlite-wal").stat().st_size > 0
    assert store.purge()
    assert path.with_name("dpe.sqlite-wal").stat().st_size == 0


def test_a_list_that_nobody_reads_on_does_not_make_the_log_grow(store: SqliteStore, make: Make, path: Path) -> None:
    """As `dpe sessions | less` does; the list goes on afterwards."""
    first = [make() for _ in range(1_500)]
    store.commit(first)
    with closing(SqliteStore(path)) as other:
        live = other.live(0)
        found = [next(live)]
        for _ in range(20):
            store.commit([make(device=session.device, client_id=session.client_id) for session in first])
            assert store.purge()
            assert path.with_name("dpe.sqlite-wal").stat().st_size == 0
        found += live
    assert [session.client_id for session in found] == sorted(session.client_id for session in first)


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_was_exchanged_is_noticed(store: SqliteStore, path: Path, there: bool) -> None:
    first = store.beat(None, bytes(8))
    path.rename(path.with_name("away"))
    if there:
        path.write_bytes(path.with_name("away").read_bytes())
    before = on_disk(path)
    for act in (lambda: store.beat(first, os.urandom(8)), store.prepare_purge, lambda: store.drop_changes(0, 2**40)):
        with pytest.raises(ReplacedError, match="exchanged while it was open"):
            act()
    assert on_disk(path) == before
