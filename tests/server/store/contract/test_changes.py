"""What a store tells those who follow its changes, so that they end with exactly what it has."""

import os
import random
import time
from collections.abc import Callable

import pytest

from dpe_server.store import record
from dpe_server.store.changes import KEPT, Changes, Reported
from dpe_server.store.contract import (
    Change,
    Contact,
    Deregister,
    End,
    Forget,
    Outcome,
    Revoke,
    Session,
    Store,
)
from dpe_server.store.listing import ALL
from dpe_server.store.postgresql import changing as in_postgresql
from dpe_server.store.sqlite import changing as in_sqlite
from tests.server.store.contract.reading import EVER, Make, Open

BATTERY, FIRMWARE = b"\x00", b"\x01"
MOST = 1_000


def contact(session: Session, number: int, items: dict[bytes, bytes] | None) -> Contact:
    return Contact(session.client_id, session.ordinal, number, os.urandom(16), items, 1_000)


def number_of(store: Store, *changes: Change) -> int:
    """Commit changes, and return the number of what has changed with them."""
    before = store.standing().newest
    store.commit(changes)
    newest = store.standing().newest
    assert newest > before
    return newest


def told(changes: list[Changes]) -> list[tuple[list[int], dict[int, dict[bytes, bytes]]]]:
    """Who ended and who has what, by change."""
    return [(list(one.ended), {found.client_id: items(found.record) for found in one.changed}) for one in changes]


def items(found: bytes) -> dict[bytes, bytes]:
    return {entry.property: entry.value for entry in record.entries(found)}


@pytest.fixture
def session(store: Store, make: Make) -> Session:
    made = make(expires_at=int(time.time()) + 100)
    assert store.commit([made]) == [Outcome.COMMITTED]
    return made


def test_a_new_store_has_no_change_and_a_history(store: Store, opening: Open) -> None:
    standing = store.standing()
    assert (standing.newest, standing.dropped, len(standing.history)) == (0, 0, 8)
    assert store.changes(0, MOST) == []
    assert opening().standing() == standing


def test_a_report_is_a_change_with_all_that_the_session_has(store: Store, session: Session) -> None:
    before = int(time.time())
    first = number_of(store, contact(session, 1, {BATTERY: b"\x14", FIRMWARE: b"\x61a"}))
    second = number_of(store, contact(session, 2, {BATTERY: b"\x13"}))
    (change,) = store.changes(first, MOST)
    assert (change.number, list(change.ended)) == (second, [])
    assert before <= change.at <= int(time.time())
    found = store.session(session.client_id)
    assert found is not None
    assert change.changed == [Reported(session.client_id, found.record)]
    assert items(found.record) == {BATTERY: b"\x13", FIRMWARE: b"\x61a"}
    assert store.changes(second, MOST) == []


def test_of_several_changes_the_last_one_that_is_read_has_the_session(store: Store, session: Session) -> None:
    _, second, _ = (number_of(store, contact(session, number, {BATTERY: bytes([number])})) for number in (1, 2, 3))
    now = {session.client_id: {BATTERY: b"\x03"}}
    assert told(store.changes(0, MOST)) == [([], {}), ([], {}), ([], now)]
    assert told(store.changes(0, 2)) == [([], {}), ([], now)]
    assert told(store.changes(second, MOST)) == [([], now)]


def test_what_changes_nothing_that_is_reported_is_no_change(store: Store, session: Session, make: Make) -> None:
    store.commit([contact(session, 1, {})])
    store.commit([contact(session, 2, None)])
    store.commit([contact(session, 2, {BATTERY: b"\x14"})])  # not accepted
    store.commit([contact(session, 3, {FIRMWARE: record.NULL})])  # there was none
    store.commit([make(), Revoke(os.urandom(16), 1), End(os.urandom(16), 1), Forget(os.urandom(16), 1)])
    store.expire(0)
    assert store.standing().newest == 0


def test_a_property_that_is_taken_away_is_a_change(store: Store, session: Session) -> None:
    first = number_of(store, contact(session, 1, {BATTERY: b"\x14", FIRMWARE: b"\x61a"}))
    second = number_of(store, contact(session, 2, {FIRMWARE: record.NULL}))
    assert told(store.changes(first, MOST)) == [([], {session.client_id: {BATTERY: b"\x14"}})]
    number_of(store, contact(session, 3, {BATTERY: record.NULL}))
    assert told(store.changes(second, MOST)) == [([], {session.client_id: {}})]


def test_one_commit_is_one_change(store: Store, make: Make) -> None:
    sessions = [make(expires_at=None) for _ in range(5)]
    store.commit(sessions)
    store.commit(
        [
            contact(sessions[0], 1, {BATTERY: b"\x14"}),
            contact(sessions[1], 1, {BATTERY: b"\x15"}),
            Deregister(sessions[2].client_id, sessions[2].ordinal, 1),
            End(sessions[3].device, 1),
            contact(sessions[0], 2, {BATTERY: b"\x16"}),
            End(sessions[1].device, 1),
            make(device=sessions[4].device),
        ]
    )
    (change,) = store.changes(0, MOST)
    assert sorted(change.ended) == sorted(sessions[n].client_id for n in (1, 2, 3, 4))
    assert [found.client_id for found in change.changed] == [sessions[0].client_id]


ENDS: dict[str, Callable[[Store, Session, Make], object]] = {
    "deregistered": lambda store, s, make: store.commit([Deregister(s.client_id, s.ordinal, 9)]),
    "ended by an operator": lambda store, s, make: store.commit([End(s.device, 1)]),
    "revoked": lambda store, s, make: store.commit([Revoke(s.device, 1)]),
    "forgotten": lambda store, s, make: store.commit([Forget(s.device, 1)]),
    "expired": lambda store, s, make: store.expire(2**40),
    "replaced": lambda store, s, make: store.commit([make(device=s.device)]),
    "replaced under the same Client ID": lambda store, s, make: store.commit(
        [make(device=s.device, client_id=s.client_id)]
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_every_end_of_a_session_is_a_change(
    store: Store, session: Session, make: Make, end: Callable[[Store, Session, Make], object]
) -> None:
    first = number_of(store, contact(session, 1, {BATTERY: b"\x14"}))
    end(store, session, make)
    assert [ended for ended, _ in told(store.changes(first, MOST))] == [[session.client_id]]
    followed = Follower(store)
    followed.catch_up()
    assert followed.has == truth(store)


def test_a_client_id_that_is_taken_over_ends_first(store: Store, make: Make) -> None:
    one, other = make(), make()
    store.commit([one, other])
    # Two devices exchange their Client IDs in one commit, so one row must make room.
    store.commit([make(device=one.device), make(device=other.device, client_id=one.client_id)])
    (change,) = store.changes(0, MOST)
    assert set(change.ended) == {one.client_id, other.client_id}


def test_a_recovery_begins_a_new_history(store: Store, session: Session) -> None:
    store.commit([contact(session, 1, {BATTERY: b"\x14"})])
    before = store.standing()
    store.recover((), 1)
    after = store.standing()
    assert after.history != before.history
    assert after.newest >= before.newest
    assert store.changes(after.newest, MOST) == []


def dropped(store: Store, before: int = 0) -> None:
    """Let housekeeping drop all that it can."""
    after: int | None = 0
    while after is not None:
        after = store.drop_changes(after, before)


def test_who_has_changed_again_since_is_dropped_from_older_changes(store: Store, make: Make) -> None:
    one, other, ended = sessions = [make(expires_at=None) for _ in range(3)]
    store.commit(sessions)
    all_report = number_of(store, *[contact(session, 1, {BATTERY: b"\x01"}) for session in sessions])
    number_of(store, contact(one, 2, {BATTERY: b"\x02"}))
    one_ends = number_of(store, End(ended.device, 1))
    last = number_of(store, contact(one, 3, {BATTERY: b"\x03"}))
    dropped(store)
    assert told(store.changes(0, MOST)) == [
        ([], {other.client_id: {BATTERY: b"\x01"}}),
        ([ended.client_id], {}),
        ([], {one.client_id: {BATTERY: b"\x03"}}),
    ]
    assert [change.number for change in store.changes(0, MOST)] == [all_report, one_ends, last]
    assert (store.standing().newest, store.standing().dropped) == (last, 0)


def test_old_changes_are_dropped_but_for_the_newest(store: Store, make: Make) -> None:
    sessions = [make(expires_at=None) for _ in range(3)]
    store.commit(sessions)
    _, second, third = (number_of(store, contact(session, 1, {BATTERY: b"\x01"})) for session in sessions)
    dropped(store, before=2**40)
    assert [change.number for change in store.changes(0, MOST)] == [third]
    assert (store.standing().newest, store.standing().dropped) == (third, second)
    assert number_of(store, contact(sessions[0], 2, {BATTERY: b"\x02"})) > third


def test_a_change_has_a_number_that_no_other_had(store: Store, session: Session) -> None:
    store.commit([contact(session, 1, {BATTERY: b"\x01"})])
    second = number_of(store, contact(session, 2, {BATTERY: b"\x02"}))
    dropped(store, before=2**40)
    third = number_of(store, End(session.device, 1))
    dropped(store, before=2**40)
    assert third > second
    assert store.standing().newest == third


def test_housekeeping_drops_some_at_once(store: Store, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for changing in (in_sqlite, in_postgresql):
        monkeypatch.setattr(changing, "DROPPED_AT_ONCE", 2)
    sessions = [make(expires_at=None) for _ in range(9)]
    store.commit(sessions)
    numbers = [
        number_of(store, contact(session, number, {BATTERY: bytes([number])}))
        for number in (1, 2)
        for session in sessions
    ]
    dropped(store)
    assert [change.number for change in store.changes(0, MOST)] == numbers[9:]


def test_who_has_the_store_open_too_goes_on_with_the_numbers(store: Store, opening: Open, make: Make) -> None:
    other = opening()
    session = make(expires_at=None)
    store.commit([session])
    numbers = [
        number_of((other, store)[number % 2], contact(session, number, {BATTERY: bytes([number])}))
        for number in range(1, 5)
    ]
    assert [change.number for change in other.changes(0, MOST)] == numbers
    assert other.standing() == store.standing()
    assert told(store.changes(0, MOST))[-1] == ([], {session.client_id: {BATTERY: b"\x04"}})


def test_changes_are_kept_for_a_week() -> None:
    assert KEPT == 604_800


class Follower:
    """Reads changes as `dpe properties` does, and keeps what each session has."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = 0
        self.has: dict[int, dict[bytes, tuple[bytes, int]]] = {}

    def read(self, most: int) -> bool:
        found = self.store.changes(self.number, most)
        for change in found:
            for client_id in change.ended:
                self.has.pop(client_id, None)
            for session in change.changed:
                self.has[session.client_id] = full(session.record)
                if not self.has[session.client_id]:
                    del self.has[session.client_id]
            self.number = change.number
        return bool(found)

    def catch_up(self) -> None:
        while self.read(3):
            pass


def full(found: bytes) -> dict[bytes, tuple[bytes, int]]:
    return {entry.property: (entry.value, entry.at) for entry in record.entries(found)}


def truth(store: Store) -> dict[int, dict[bytes, tuple[bytes, int]]]:
    return {one.client_id: full(one.record) for one in store.listed(ALL, EVER) if one.record}


@pytest.mark.parametrize("seed", range(20))
def test_whoever_follows_has_what_the_store_has(store: Store, make: Make, seed: int) -> None:
    """Reports, ends, registrations under old Client IDs, and housekeeping, in any order; a reader that repeats."""
    chance = random.Random(seed)
    client_ids = range(1, 9)
    live: dict[bytes, Session] = {}
    numbers: dict[int, int] = {}
    follower = Follower(store)
    devices = [os.urandom(16) for _ in range(6)]

    def change() -> Change:
        device = chance.choice(devices)
        mine = live.get(device)
        kind = chance.random()
        if mine is None or kind < 0.1:
            return make(device=device, client_id=chance.choice(client_ids), expires_at=None)
        if kind < 0.2:
            ends: list[Change] = [End(device, 1), Forget(device, 1), Deregister(mine.client_id, mine.ordinal, 10**6)]
            return chance.choice(ends)
        numbers[mine.ordinal] = numbers.get(mine.ordinal, 0) + 1
        reported = {bytes([n]): chance.choice([record.NULL, bytes([chance.randrange(20)])]) for n in range(3)}
        some = dict(chance.sample(sorted(reported.items()), chance.randrange(4)))
        return contact(mine, numbers[mine.ordinal], some)

    for _ in range(80):
        store.commit([change() for _ in range(chance.randrange(1, 5))])
        live = {one.device: one for one in store.live(EVER)}
        match chance.randrange(5):
            case 0:
                follower.read(chance.randrange(1, 4))
            case 1:
                dropped(store)
            case 2:
                follower.number = max(0, follower.number - chance.randrange(3))  # it was killed before it had noted
            case _:
                pass
    follower.catch_up()
    assert follower.has == truth(store)
    assert truth(store) != {}
