"""What a page, or an interface for programs, asks of the database: each statement, its rows and its plan."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from dpe_server.operation.state_dir import StateDir

MOST = 200
"""Rows that a query may read."""
FEW, MANY = 3_000, 12_000
"""Sessions in a store with which and without which it makes no difference."""
CONNECT = sqlite3.connect


class Statements:
    """What the page has asked of the database: each statement, how many rows came, and what work it was."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        """By their text without values, one with its values."""
        self.rows = 0
        """The most that one statement has given."""
        self.work = 0
        """Operations of SQLite's virtual machine."""


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    """Watch every connection that is opened meanwhile."""
    watch = Statements()

    class Cursor(sqlite3.Cursor):
        def fetchall(self) -> list[Any]:
            found = super().fetchall()
            watch.rows = max(watch.rows, len(found))
            return found

        def __next__(self) -> Any:
            row = super().__next__()
            self.given = getattr(self, "given", 0) + 1
            watch.rows = max(watch.rows, self.given)
            return row

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            return self.cursor(Cursor).execute(sql, *parameters)

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made = CONNECT(*arguments, **options, factory=Connection)
        made.set_trace_callback(lambda sql: watch.seen.setdefault(re.sub(r"\d+|x?'[^']*'", "?", sql), sql))

        def count() -> int:
            watch.work += 10
            return 0

        made.set_progress_handler(count, 10)
        return made

    with monkeypatch.context() as patched:
        patched.setattr("dpe_server.store.sqlite.database.sqlite3.connect", connect)
        yield watch


def fill(opened: StateDir, count: int) -> None:
    """Have so many sessions in the store."""
    with closing(sqlite3.connect(opened.store_path, isolation_level=None)) as database:
        (now,) = database.execute("SELECT unixepoch()").fetchone()
        (there,) = database.execute("SELECT count(*) FROM session").fetchone()
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO session (client_id, device, sealed_imei, version_major, version_minor, suite, rule, ordinal,"
            " established_at, expires_at, check_at, th3, success_hash, confirm, sealed_keys, record)"
            " VALUES (?, ?, x'', 1, 0, 1, 'everyone', ?, ?, ?, ?, x'', zeroblob(32), x'', x'', x'')",
            (
                (1_000 + number, os.urandom(16), 1_000 + number, now, now + 3600, now + 3600)
                for number in range(there, count)
            ),
        )
        database.execute("INSERT INTO restriction (device, revoked_at) VALUES (randomblob(16), 1)")
        database.execute("COMMIT")
        database.execute("ANALYZE")


def check_plans(opened: StateDir, watch: Statements) -> None:
    """Explain every statement that reads or writes a table."""
    asked = 0
    with closing(sqlite3.connect(opened.store_path)) as database:
        for sql in watch.seen.values():
            if not re.match(r"(WITH|SELECT|INSERT|UPDATE|DELETE)\b", sql) or "sqlite_schema" in sql:
                continue
            asked += 1
            plan = [step[3] for step in database.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert not [step for step in plan if re.search(r"SCAN (session|restriction|change)", step)], (sql, plan)
    assert asked or not watch.seen
