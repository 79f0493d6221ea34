"""What the store answers, and that it need not go through a whole table for it."""

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from dpe_coap.errors import LocalError
from dpe_server.registration.admission import UNRESTRICTED
from dpe_server.store.contract import Confirmed, Restriction, Session
from dpe_server.store.sqlite import statements
from dpe_server.store.sqlite.store import PRUNE_CHUNK, SqliteStore
from dpe_tools.simulation.memory_store import MemoryStore

Make = Callable[..., Session]
Either = SqliteStore | MemoryStore


def test_looking_for_nothing_finds_nothing(either: Either) -> None:
    assert either.sessions([]) == {}
    assert either.confirmed([]) == {}
    assert either.sessions_of([]) == {}
    assert either.restrictions([]) == {}


def test_looking_for_very_many_is_one_look(either: Either, make: Make) -> None:
    session = make()
    either.commit([session])
    either.restrict(session.device, 4)
    strangers = [os.urandom(16) for _ in range(300_000)]  # above any limit on the variables of a statement
    assert either.sessions([*(d[:7] for d in strangers), session.client_id]) == {session.client_id: session}
    assert either.confirmed([*(d[:7] for d in strangers), session.client_id])[session.client_id] == Confirmed(
        session.success_hash, session.expires_at, session.confirm
    )
    assert either.sessions_of([*strangers, session.device]) == {session.device: session}
    assert either.restrictions([*strangers, session.device]) == {session.device: Restriction(False, 4)}


def test_what_confirmed_no_session_fits_no_message(either: Either, make: Make) -> None:
    session = make()
    either.commit([session])
    ids = [session.client_id, bytes(7), b"\xff" * 7]
    found = either.confirmed(ids)
    assert found.pop(session.client_id) == Confirmed(session.success_hash, session.expires_at, session.confirm)
    assert [one.success_hash for one in found.values()] == [bytes(32)] * 2, "of the next above, or of none"


def test_taken_has_both_ends_of_the_range(either: Either, make: Make) -> None:
    numbers = {9, 10, 15, 20, 21, 2**56 - 1}
    either.commit([make(client_id=n.to_bytes(7)) for n in numbers])
    assert either.taken(10, 20) == {10, 15, 20}
    assert either.taken(0, 2**56 - 1) == numbers
    assert either.taken(11, 14) == set()
    assert either.held([9, 11, 2**56 - 1]) == {9, 2**56 - 1}
    assert either.held([]) == set()


def test_restrictions(either: Either, make: Make, now: int) -> None:
    session = make()
    either.commit([session])
    other = os.urandom(16)
    assert either.revoke(session.device, now)
    assert not either.revoke(session.device, now + 1)
    either.restrict(session.device, 2)
    either.restrict(other, 255)
    either.restrict(other, 7)
    assert either.restrictions([session.device, other, os.urandom(16)]) == {
        session.device: Restriction(True, 2),
        other: Restriction(False, 7),
    }
    assert either.sessions([session.client_id]) == {}
    assert not either.revoke(other, now)
    assert either.restrictions([other]) == {other: Restriction(True, 7)}


def test_a_device_keeps_the_date_at_which_it_was_revoked(store: SqliteStore, now: int) -> None:
    device = os.urandom(16)
    store.revoke(device, now)
    store.revoke(device, now + 1)
    assert store._read("SELECT revoked_at FROM restriction WHERE device = :device", device=device) == [(now,)]


def test_minimum_epoch(either: Either) -> None:
    assert either.minimum_epoch() == 0
    either.set_minimum_epoch(3)
    assert either.minimum_epoch() == 3


@pytest.mark.parametrize("epoch", [-1, 256])
def test_an_epoch_that_is_none_is_refused(either: Either, epoch: int) -> None:
    with pytest.raises(LocalError, match=f"not a key epoch: {epoch}"):
        either.set_minimum_epoch(epoch)
    with pytest.raises(LocalError, match=f"not a key epoch: {epoch}"):
        either.restrict(bytes(16), epoch)
    assert either.minimum_epoch() == 0
    assert either.restrictions([bytes(16)]).get(bytes(16), UNRESTRICTED) == UNRESTRICTED


def test_live_sessions_are_those_not_over(either: Either, make: Make, now: int) -> None:
    over, last_second, lasting = make(expires_at=now), make(expires_at=now + 1), make(expires_at=None)
    either.commit([over, last_second, lasting])
    live = sorted((last_second, lasting), key=lambda session: session.client_id)
    assert list(either.live(now)) == live
    assert either.count(now) == 2
    assert either.count(now - 1) == 3
    assert either.count(now + 1) == 1


def test_live_is_one_moment_whatever_is_committed_meanwhile(either: Either, make: Make, now: int) -> None:
    sessions = [make() for _ in range(500)]
    either.commit(sessions)
    live = either.live(now)
    next(live)
    either.commit([make(device=session.device) for session in sessions])
    assert len(list(live)) == 499


def test_pruning_keeps_what_has_not_ended_long_enough(either: Either, make: Make, now: int) -> None:
    ended = [make(expires_at=now - 1) for _ in range(2 * PRUNE_CHUNK + 1)]
    kept = [make(expires_at=now), make(expires_at=None)]
    either.commit([*ended, *kept])
    highest = either.last_ordinal()
    assert [either.prune(now) for _ in range(4)] == [PRUNE_CHUNK, PRUNE_CHUNK, 1, 0]
    assert set(either.sessions([s.client_id for s in (*ended, *kept)])) == {s.client_id for s in kept}
    assert len(list(either.live(-1))) == len(kept)
    assert either.last_ordinal() == highest


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
            "taken": operations(store, lambda: store.taken(1, 1000)),
            "restrictions": operations(store, lambda: store.restrictions(devices)),
            "prune": operations(store, lambda: store.prune(now)),
        }

    # A range with one row in it and others behind it: looking at the end of the table costs less.
    store.commit([make(client_id=(500).to_bytes(7), expires_at=None), *(make(expires_at=None) for _ in range(100))])
    small = work()
    for _ in range(10):
        store.commit([make(expires_at=None) for _ in range(2_000)])
    large = work()
    for name, count in small.items():
        assert 0 < large[name] <= 1.1 * count, name
