"""What the store answers, and that it need not go through a whole table for it."""

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from dpe_coap.errors import LocalError
from dpe_server.store import Confirmed, Restriction, Session, statements
from dpe_server.store.sqlite import PRUNE_CHUNK, SqliteStore

Make = Callable[..., Session]


def test_looking_for_nothing_finds_nothing(store: SqliteStore) -> None:
    assert store.sessions([]) == {}
    assert store.confirmed([]) == {}
    assert store.sessions_of([]) == {}
    assert store.restrictions([]) == {}


def test_looking_for_very_many_is_one_look(store: SqliteStore, make: Make) -> None:
    session = make()
    store.commit([session])
    store.restrict(session.device, 4)
    strangers = [os.urandom(16) for _ in range(300_000)]  # above any limit on the variables of a statement
    assert store.sessions([*(d[:7] for d in strangers), session.client_id]) == {session.client_id: session}
    assert store.confirmed([*(d[:7] for d in strangers), session.client_id])[session.client_id] == Confirmed(
        session.success_hash, session.expires_at, session.confirm
    )
    assert store.sessions_of([*strangers, session.device]) == {session.device: session}
    assert store.restrictions([*strangers, session.device]) == {session.device: Restriction(False, 4)}


def test_what_confirmed_no_session_fits_no_message(store: SqliteStore, make: Make) -> None:
    session = make()
    store.commit([session])
    ids = [session.client_id, bytes(7), b"\xff" * 7]
    found = store.confirmed(ids)
    assert found.pop(session.client_id) == Confirmed(session.success_hash, session.expires_at, session.confirm)
    assert [one.success_hash for one in found.values()] == [bytes(32)] * 2, "of the next above, or of none"


def test_taken_has_both_ends_of_the_range(store: SqliteStore, make: Make) -> None:
    numbers = {9, 10, 15, 20, 21, 2**56 - 1}
    store.commit([make(client_id=n.to_bytes(7)) for n in numbers])
    assert store.taken(10, 20) == {10, 15, 20}
    assert store.taken(0, 2**56 - 1) == numbers
    assert store.taken(11, 14) == set()
    assert store.held([9, 11, 2**56 - 1]) == {9, 2**56 - 1}
    assert store.held([]) == set()


def test_restrictions(store: SqliteStore, make: Make, now: int) -> None:
    session = make()
    store.commit([session])
    other = os.urandom(16)
    assert store.revoke(session.device, now)
    assert not store.revoke(session.device, now + 1)
    store.restrict(session.device, 2)
    store.restrict(other, 255)
    store.restrict(other, 7)
    assert store.restrictions([session.device, other, os.urandom(16)]) == {
        session.device: Restriction(True, 2),
        other: Restriction(False, 7),
    }
    assert store.sessions([session.client_id]) == {}
    assert not store.revoke(other, now)
    assert store.restrictions([other]) == {other: Restriction(True, 7)}
    assert store._read("SELECT revoked_at FROM restriction WHERE device = :device", device=session.device) == [(now,)]


def test_minimum_epoch(store: SqliteStore) -> None:
    assert store.minimum_epoch() == 0
    store.set_minimum_epoch(3)
    assert store.minimum_epoch() == 3


@pytest.mark.parametrize("epoch", [-1, 256])
def test_an_epoch_that_is_none_is_refused(store: SqliteStore, epoch: int) -> None:
    with pytest.raises(LocalError, match=f"not a key epoch: {epoch}"):
        store.set_minimum_epoch(epoch)
    with pytest.raises(LocalError, match=f"not a key epoch: {epoch}"):
        store.restrict(bytes(16), epoch)
    assert store.minimum_epoch() == 0
    assert store.restrictions([bytes(16)]) == {bytes(16): Restriction(False, 0)}, "the one of no device"


def test_live_sessions_are_those_not_over(store: SqliteStore, make: Make, now: int) -> None:
    over, last_second, lasting = make(expires_at=now), make(expires_at=now + 1), make(expires_at=None)
    store.commit([over, last_second, lasting])
    live = sorted((last_second, lasting), key=lambda session: session.client_id)
    assert list(store.live(now)) == live
    assert store.count(now) == 2
    assert store.count(now - 1) == 3
    assert store.count(now + 1) == 1


def test_live_is_one_moment_whatever_is_committed_meanwhile(store: SqliteStore, make: Make, now: int) -> None:
    sessions = [make() for _ in range(500)]
    store.commit(sessions)
    live = store.live(now)
    next(live)
    store.commit([make(device=session.device) for session in sessions])
    assert len(list(live)) == 499


def test_pruning_keeps_what_has_not_ended_long_enough(store: SqliteStore, make: Make, now: int) -> None:
    ended = [make(expires_at=now - 1) for _ in range(2 * PRUNE_CHUNK + 1)]
    kept = [make(expires_at=now), make(expires_at=None)]
    store.commit([*ended, *kept])
    highest = store.last_ordinal()
    assert [store.prune(now) for _ in range(4)] == [PRUNE_CHUNK, PRUNE_CHUNK, 1, 0]
    assert set(store.sessions([s.client_id for s in (*ended, *kept)])) == {s.client_id for s in kept}
    assert store._read("SELECT count(*) FROM session") == [(len(kept),)]
    assert store.last_ordinal() == highest


LOOKUPS: dict[str, tuple[str, Any]] = {
    "sessions": (statements.SESSIONS, {"client_ids": "[1]"}),
    "confirmed": (statements.CONFIRMED, {"client_ids": "[1]"}),
    "sessions of devices": (statements.SESSIONS_OF, {"devices": bytes(16)}),
    "held": (statements.HELD_OF, {"client_ids": "[1]"}),
    "taken": (statements.TAKEN, {"first": 1, "last": 2}),
    "restrictions": (statements.RESTRICTIONS, {"devices": bytes(16)}),
    "held by a batch": (statements.HELD, {"client_ids": "[1]", "devices": bytes(16)}),
    "end": (statements.END, ("[1]",)),
    "prune": (statements.PRUNE, (1, 1)),
    "revoke": ("DELETE FROM session WHERE device = ?", (bytes(16),)),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_no_look_up_scans_a_table(store: SqliteStore, make: Make, name: str) -> None:
    store.commit([make() for _ in range(1000)])
    store._writer.execute("ANALYZE")
    sql, parameters = LOOKUPS[name]
    plan = [step[3] for step in store._writer.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    assert any(re.search(r"SEARCH (session|restriction)", step) for step in plan), plan
    assert not any(re.search(r"SCAN (session|restriction)", step) for step in plan), plan


def test_the_check_of_plans_sees_a_scan(store: SqliteStore) -> None:
    plan = store._read("EXPLAIN QUERY PLAN SELECT 1 FROM session WHERE rule = 'x'")
    assert any("SCAN session" in step[3] for step in plan)


def operations(store: SqliteStore, act: Callable[[], object]) -> int:
    """Count the operations of SQLite's virtual machine that ``act`` takes."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    for connection in (store._writer, store._reader):
        connection.set_progress_handler(count, 1)
    act()
    for connection in (store._writer, store._reader):
        connection.set_progress_handler(None, 1)
    return counted


def test_the_work_does_not_grow_with_the_size(store: SqliteStore, make: Make, now: int) -> None:
    def work() -> dict[str, int]:
        batch = [make(expires_at=None) for _ in range(50)]
        keys = [session.client_id for session in batch]
        devices = [session.device for session in batch]
        numbers = [int.from_bytes(key, "big") for key in keys]
        return {
            "commit": operations(store, lambda: store.commit(batch)),
            "commit again": operations(store, lambda: store.commit([make(device=device) for device in devices])),
            "sessions": operations(store, lambda: store.sessions(keys)),
            "confirmed": operations(store, lambda: store.confirmed(keys)),
            "sessions of": operations(store, lambda: store.sessions_of(devices)),
            "held": operations(store, lambda: store.held(numbers)),
            "taken": operations(store, lambda: store.taken(numbers[0], numbers[0] + 1000)),
            "restrictions": operations(store, lambda: store.restrictions(devices)),
            "prune": operations(store, lambda: store.prune(now)),
        }

    store.commit([make(expires_at=None) for _ in range(100)])
    small = work()
    for _ in range(10):
        store.commit([make(expires_at=None) for _ in range(2_000)])
    large = work()
    for name, count in small.items():
        assert 0 < large[name] <= 1.1 * count, name
