"""A database that cannot do what it is asked says so, keeps what it had, and gives no data away."""

import ctypes
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from dpe_server.store.contract import (
    NOBODY,
    Outcome,
    Revoke,
    Session,
    SetMinimumEpoch,
    StoreError,
)
from dpe_server.store.opening import examine
from dpe_server.store.questions import Facts, Questions
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]

EVERY_ACT: dict[str, Callable[[SqliteStore], object]] = {
    "look": lambda store: store.look(Questions(restrictions={NOBODY})),
    "commit": lambda store: store.commit([SetMinimumEpoch(1)]),
    "last ordinal": lambda store: store.last_ordinal(),
    "prune": lambda store: store.prune(0),
    "session": lambda store: store.session(0),
    "session of": lambda store: store.session_of(NOBODY),
    "stats": lambda store: store.stats(0),
}


def faults(store: SqliteStore) -> list[str]:
    return examine(f"sqlite:{store._database.path}", thorough=True).faults


def test_a_full_disk_loses_nothing_and_keeps_nothing_of_the_batch(store: SqliteStore, make: Make) -> None:
    first = make()
    store.commit([first])
    writer = store._database._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 3}")
    batch = [make() for _ in range(500)]
    with pytest.raises(StoreError, match=r"the disk is full \(SQLITE_FULL\)") as caught:
        store.commit([make(device=first.device), SetMinimumEpoch(1), Revoke(first.device, 1), *batch])
    assert "free space" in caught.value.hint
    assert list(store.live(-1)) == [first]
    assert store.look(Questions(restrictions={first.device})) == Facts(minimum_epoch=0)
    assert store.last_ordinal() == first.ordinal

    writer.execute(f"PRAGMA max_page_count = {2**30}")
    assert store.commit(batch) == [Outcome.COMMITTED] * 500
    assert faults(store) == []


def test_a_file_that_may_not_be_written_is_said(store: SqliteStore, make: Make, path: Path) -> None:
    store.commit([make()])
    store.close()
    path.chmod(0o444)
    path.parent.chmod(0o555)

    def write() -> None:
        if os.geteuid() == 0:  # nothing is read-only to root; on Linux one thread alone can be another user to files
            ctypes.CDLL(None).setfsuid(65534)
        with closing(SqliteStore(path)) as opened:
            opened.commit([SetMinimumEpoch(1)])

    with ExitStack() as closed_again, ThreadPoolExecutor(1) as thread:
        for folder in path.parents[1:] if os.geteuid() == 0 else ():
            mode = folder.stat().st_mode
            folder.chmod(mode | 0o011)
            closed_again.callback(folder.chmod, mode)
        with pytest.raises(StoreError, match=r"SQLITE_(READONLY|CANTOPEN)") as caught:
            thread.submit(write).result()
    path.parent.chmod(0o755)
    assert "check" in caught.value.hint


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_file_that_cannot_be_opened_as_often_as_need_be_is_let_go(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    SqliteStore(path).close()
    connect = sqlite3.connect
    opened: list[sqlite3.Connection] = []

    def connect_or_fail(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        if len(opened) + 1 == failing:
            raise sqlite3.OperationalError("unable to open database file")
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_or_fail)
    with pytest.raises(StoreError):
        SqliteStore(path)
    assert len(opened) == failing - 1
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_a_write_to_a_read_only_database_is_said(store: SqliteStore, make: Make) -> None:
    store._database._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match=r"cannot be written \(SQLITE_READONLY\)") as caught:
        store.commit([make()])
    assert "owner and mode" in caught.value.hint


def test_another_process_that_does_not_finish_is_said(path: Path, make: Make) -> None:
    session = make()
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process is writing") as caught:
            store.commit([session], patience=0.0)
        assert "SQLITE_BUSY" in str(caught.value)
        assert list(store.live(-1)) == []  # reading goes on
        other.execute("ROLLBACK")
        assert store.commit([session]) == [Outcome.COMMITTED]


def test_a_damaged_file_is_said(store: SqliteStore, make: Make, path: Path) -> None:
    store.commit([make() for _ in range(500)])
    assert faults(store) == []
    store.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(StoreError, match=r"damaged \(SQLITE_CORRUPT"), closing(SqliteStore(path)) as damaged:
        list(damaged.live(0))
    with pytest.raises(StoreError, match="malformed") as caught:
        examine(f"sqlite:{path}")
    assert caught.value.hint == "put a backup back: dpe restore STATE FILE"


def test_a_flaw_in_an_index_is_found_by_the_check(store: SqliteStore, make: Make, path: Path) -> None:
    def index(before: str, after: str) -> None:
        writer = store._database._writer
        writer.execute("PRAGMA writable_schema = ON")
        changed = writer.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, :before, :after) WHERE sql LIKE 'CREATE INDEX%' || :before",
            {"before": before, "after": after},
        )
        assert changed.rowcount == 1
        writer.execute("PRAGMA writable_schema = RESET")

    index("check_at IS NOT NULL", "check_at IS NULL")
    store.commit([make() for _ in range(20)])  # none of which goes into the index
    index("check_at IS NULL", "check_at IS NOT NULL")
    assert examine(f"sqlite:{path}").faults == [], "it looks at the tables alone"
    assert any("missing from index" in line for line in faults(store))


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory") as caught:
        SqliteStore(tmp_path / "none" / "dpe.sqlite")
    assert caught.value.hint


def test_a_directory_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be opened \(SQLITE_CANTOPEN"):
        SqliteStore(tmp_path)


@pytest.mark.parametrize("act", EVERY_ACT.values(), ids=EVERY_ACT.keys())
def test_a_store_that_does_not_answer_says_so_as_a_store(path: Path, act: Callable[[SqliteStore], object]) -> None:
    store = SqliteStore(path)
    store.close()
    with pytest.raises(StoreError, match="does not answer"):
        act(store)


@pytest.mark.parametrize("field", ["device", "success_hash"])
def test_a_session_that_is_not_well_formed_is_refused_with_its_batch(
    store: SqliteStore, make: Make, field: str
) -> None:
    good = make()
    with pytest.raises(StoreError, match="SQLITE_CONSTRAINT_CHECK") as caught:
        store.commit([good, make(**{field: b"personal"})])
    assert "personal" not in f"{caught.value!r}{caught.value.__cause__!r}"
    assert list(store.live(-1)) == []
