"""SQLite need not go through a whole table for a look or a commit, and a look is one statement for each kind."""

import itertools
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from dpe_server.store.contract import (
    NOBODY,
    RestrictEpoch,
    Revoke,
    Session,
    Unrevoke,
)
from dpe_server.store.questions import Questions
from dpe_server.store.sqlite import statements
from dpe_server.store.sqlite.store import SqliteStore

Make = Callable[..., Session]

LOOKUPS: dict[str, tuple[str, Any]] = {
    "restrictions": (statements.RESTRICTIONS, {"devices": bytes(16)}),
    "Client IDs of devices": (statements.CLIENT_IDS_OF, {"devices": bytes(16)}),
    "holders": (statements.HOLDERS, {"client_ids": "[1]"}),
    "in use": (statements.IN_USE, {"ranges": "[[1, 2]]"}),
    "confirmed": (statements.CONFIRMED, {"client_ids": "[1]"}),
    "stored of a batch": (statements.STORED, {"client_ids": "[1]", "devices": bytes(16)}),
    "make room": (statements.MAKE_ROOM, ("[1]",)),
    "end of a device": (statements.END_OF_DEVICE, (1, bytes(16))),
    "date a trace": (statements.DATE_TRACE, (1, bytes(16))),
    "unrevoke": (statements.UNREVOKE, (bytes(16),)),
    "tidy": (statements.TIDY, (bytes(16),)),
    "check later": (statements.CHECK_LATER, {"now": 1, "most": 1}),
    "over": (statements.OVER, {"now": 1, "most": 1}),
    "end of sessions": (statements.END_SESSIONS, (1, "[1]")),
    "contexts": (statements.CONTEXTS, {"client_ids": "[1]"}),
    "in session": (statements.IN_SESSION, {"client_ids": "[1]"}),
    "contacts": (statements.put_contacts(2), (1, 1, bytes(16), 1, 1, 1, b"", 1) * 2),
    "contacts, sooner over": (statements.put_contacts(2, sooner=True), (1, 1, bytes(16), 1, 1, 1, b"", 1) * 2),
    "Client ID of a device": (statements.CLIENT_ID_OF, (bytes(16),)),
    "records of changes": (statements.RECORDS, {"client_ids": "[1]"}),
    "last changes": (statements.CHANGED_LAST, {"client_ids": "[1]"}),
    "no override": (statements.NO_OVERRIDE, (bytes(16),)),
    "prune": (statements.PRUNE, (1, 1)),
    "live": (statements.LIVE, (1, 1, 1)),
    "next": (statements.NEXT, (1, 1)),
    "session": (statements.SESSION, (1,)),
    "session of a device": (statements.SESSION_OF, (bytes(16),)),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_no_look_up_scans_a_table(store: SqliteStore, make: Make, name: str) -> None:
    store.commit([make() for _ in range(1000)])
    writer = store._database._writer
    sql, parameters = LOOKUPS[name]
    for statistics in (False, True):
        if statistics:
            writer.execute("ANALYZE")
        plan = [step[3] for step in writer.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        assert any(re.search(r"SEARCH (session|restriction)", step) for step in plan), plan
        assert not any(re.search(r"SCAN (session|restriction)", step) for step in plan), plan


def test_statistics_that_somebody_made_are_dropped(store: SqliteStore, make: Make) -> None:
    """By them, a filter is made of the whole table at each look, and the plan has it as a search."""
    store.commit([make() for _ in range(3000)])
    asked = Questions(client_ids_of={b"1" * 16, b"2" * 16})
    numbers = itertools.count()

    def filtered() -> bool:
        plans = []
        explain = f"EXPLAIN QUERY PLAN {statements.CLIENT_IDS_OF} -- {next(numbers)}"  # one that is not prepared yet
        for connection in (store._database._writer, store._database._reader):
            connection.execute(statements.CLIENT_IDS_OF, {"devices": bytes(16)}).fetchall()  # looks at the schema
            plans += [step[3] for step in connection.execute(explain, {"devices": bytes(16)})]
        return any("BLOOM FILTER" in step for step in plans)

    def kept() -> set[str]:
        with closing(sqlite3.connect(store._database.path)) as somebody:
            return {table for (table,) in somebody.execute("SELECT tbl FROM sqlite_stat1")}

    assert not filtered()
    with closing(sqlite3.connect(store._database.path, isolation_level=None)) as somebody:
        somebody.execute("ANALYZE")
    assert "session" in kept()  # SQLite 3.40 then has the filter, 3.46 has it no more
    first = store.beat(None, bytes(8))
    assert kept() == set()
    assert not filtered()
    assert store.look(asked).client_ids_of == {}
    store.beat(first, bytes(8))
    assert not filtered()


def test_the_check_of_plans_sees_a_scan(store: SqliteStore) -> None:
    plan = store._database._reader.execute("EXPLAIN QUERY PLAN SELECT 1 FROM session WHERE rule = 'x'").fetchall()
    assert any("SCAN session" in step[3] for step in plan)


EACH: dict[str, Questions] = {
    "restrictions": Questions(restrictions={b"1" * 16, b"2" * 16}),
    "Client IDs of devices": Questions(client_ids_of={b"1" * 16, b"2" * 16}),
    "holders": Questions(holders={1, 2}),
    "in use": Questions(in_use={(1, 2), (3, 4)}),
    "confirmed": Questions(confirmed={1, 2}),
    "contexts": Questions(contexts={1, 2}),
}


@pytest.mark.parametrize("name", EACH)
def test_a_kind_of_question_is_one_statement(store: SqliteStore, name: str) -> None:
    assert statements_of(store, EACH[name]) == 1


def test_kinds_that_are_not_asked_are_not_looked_up(store: SqliteStore) -> None:
    together = Questions()
    assert statements_of(store, together) == 0
    for questions in EACH.values():
        together.add(questions)
    assert statements_of(store, together) == len(EACH)


def statements_of(store: SqliteStore, questions: Questions) -> int:
    seen: list[str] = []
    store._database._reader.set_trace_callback(seen.append)
    store.look(questions)
    store._database._reader.set_trace_callback(None)
    return len(seen)


def operations(store: SqliteStore, act: Callable[[], object]) -> int:
    """Count the operations of SQLite's virtual machine that ``act`` takes."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connections = (store._database._writer, store._database._reader)
    for connection in connections:
        connection.set_progress_handler(count, 1)
    act()
    for connection in connections:
        connection.set_progress_handler(None, 1)
    return counted


def test_the_work_does_not_grow_with_the_size(store: SqliteStore, make: Make, now: int) -> None:
    def work() -> dict[str, int]:
        batch = [make(expires_at=None) for _ in range(50)]
        keys = {session.client_id for session in batch}
        devices = {session.device for session in batch}
        newer = [make(device=device) for device in devices]
        questions = {
            "restrictions": Questions(restrictions=devices),
            "Client IDs of devices": Questions(client_ids_of=devices),
            "holders": Questions(holders=keys),
            "in use": Questions(in_use={(1, 1000)}),
            "confirmed": Questions(confirmed=keys),
        }
        return {
            "commit": operations(store, lambda: store.commit(batch)),
            "commit again": operations(store, lambda: store.commit(newer)),
            **{name: operations(store, lambda asked=asked: store.look(asked)) for name, asked in questions.items()},  # type: ignore[misc]
            "session": operations(store, lambda: store.session(newer[0].client_id)),
            "session of a device": operations(store, lambda: store.session_of(newer[1].device)),
            "revoke": operations(store, lambda: store.commit([Revoke(one.device, now) for one in newer])),
            "lift": operations(store, lambda: store.commit([Unrevoke(one.device) for one in newer])),
            "prune": operations(store, lambda: store.prune(now + 1)),
            "expire": operations(store, lambda: store.expire(now)),
        }

    # A range with one row in it and others behind it: looking at the end of the table costs less.
    store.commit([make(client_id=500, expires_at=None), *(make(expires_at=None) for _ in range(100))])
    small = work()
    for _ in range(10):
        store.commit([make(expires_at=None) for _ in range(2_000)])
    large = work()
    for name, count in small.items():
        assert 0 < large[name] <= 1.1 * count, name


@pytest.mark.parametrize("others", [0, 1000])
def test_nobody_is_looked_up_like_a_device_that_is_revoked(store: SqliteStore, make: Make, others: int) -> None:
    revoked = os.urandom(16)
    store.commit([make() for _ in range(others)])
    store.commit([RestrictEpoch(os.urandom(16), 1) for _ in range(others)])
    store.commit([Revoke(revoked, 1)])
    store.look(Questions(restrictions={revoked}))  # prepares the statement, which from SQLite 3.41 on counts
    of_nobody, of_revoked = (
        operations(store, lambda device=device: store.look(Questions(restrictions={device})))  # type: ignore[misc]
        for device in (NOBODY, revoked)
    )
    of_a_stranger = operations(store, lambda: store.look(Questions(restrictions={os.urandom(16)})))
    assert abs(of_nobody - of_revoked) <= 1
    assert of_a_stranger < of_revoked - 5


def test_a_client_id_that_nobody_has_is_looked_up_like_one_that_was_confirmed(store: SqliteStore, make: Make) -> None:
    """A row is read for it, too; the bytes that are made up in the place of its columns are a few operations."""
    store.commit([make(client_id=100 * n) for n in range(1, 1000)])
    looks = [
        operations(store, lambda number=number: store.look(Questions(confirmed={number})))  # type: ignore[misc]
        for number in (5_000, 5_001)
    ]
    assert abs(looks[0] - looks[1]) <= 3
