"""What a store makes of the requests of sessions."""

import os
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from dpe_server.store.contract import (
    RECOVERY_GAP,
    Change,
    Contact,
    Deregister,
    End,
    Outcome,
    OverridePolicies,
    Session,
    Store,
)
from dpe_server.store.questions import Questions
from dpe_server.store.record import entries
from tests.server.store.contract.reading import Make, Open, all_of

BATTERY, FIRMWARE = b"\x00", b"\x01"
LIFETIME = 1_000


@pytest.fixture
def session(store: Store, make: Make) -> Session:
    made = make(expires_at=int(time.time()) + 100)
    assert store.commit([made]) == [Outcome.COMMITTED]
    return made


def contact(session: Session, number: int, items: dict[bytes, bytes] | None = None, **changed: object) -> Contact:
    made = Contact(session.client_id, session.ordinal, number, os.urandom(16), items, LIFETIME)
    return made._replace(**changed)  # type: ignore[arg-type]


def kept(store: Store, session: Session) -> dict[bytes, bytes]:
    found = store.session(session.client_id)
    assert found is not None
    return {entry.property: entry.value for entry in entries(found.record)}


def test_a_report_is_merged_and_begins_the_lifetime_anew(store: Store, session: Session) -> None:
    before = int(time.time())
    assert store.commit([contact(session, 1, {BATTERY: b"\x14", FIRMWARE: b"\x61a"})]) == [Outcome.COMMITTED]
    assert store.commit([contact(session, 5, {BATTERY: b"\x13"})]) == [Outcome.COMMITTED]
    after = int(time.time())
    found = store.session(session.client_id)
    assert found is not None
    assert found.mark == 5
    assert found.seen_at is not None
    assert before <= found.seen_at <= after
    assert (found.lifetime, found.expires_at) == (LIFETIME, found.seen_at + LIFETIME)
    assert kept(store, session) == {BATTERY: b"\x13", FIRMWARE: b"\x61a"}
    assert all(before <= entry.at <= after for entry in entries(found.record))
    before_it = replace(found, mark=None, seen_at=None, record=b"", lifetime=3600, expires_at=session.expires_at)
    assert before_it == session


def test_a_session_may_be_without_end_from_now_on(store: Store, session: Session) -> None:
    assert store.commit([contact(session, 1, {}, lifetime=None)]) == [Outcome.COMMITTED]
    found = store.session(session.client_id)
    assert found is not None
    assert (found.lifetime, found.expires_at) == (None, None)


def test_a_request_that_was_refused_raises_the_mark_and_nothing_else(store: Store, session: Session) -> None:
    assert store.commit([contact(session, 3, None)]) == [Outcome.COMMITTED]
    assert store.session(session.client_id) == replace(session, mark=3)
    assert store.commit([contact(session, 3, {BATTERY: b"\x14"})]) == [Outcome.NOT_ACCEPTED]


@pytest.mark.parametrize("number", [0, 6, 7])
def test_a_number_that_is_not_above_the_mark_is_not_accepted(store: Store, session: Session, number: int) -> None:
    store.commit([contact(session, 7, {BATTERY: b"\x14"})])
    before = store.session(session.client_id)
    assert store.commit([contact(session, number, {BATTERY: b"\x00"})]) == [Outcome.NOT_ACCEPTED]
    assert store.commit([Deregister(session.client_id, session.ordinal, number)]) == [Outcome.NOT_ACCEPTED]
    assert store.session(session.client_id) == before


def test_the_first_number_may_be_zero(store: Store, session: Session) -> None:
    assert store.commit([contact(session, 0, {})]) == [Outcome.COMMITTED]


def test_the_same_attempt_again_is_committed_again(store: Store, session: Session) -> None:
    first = contact(session, 1, {BATTERY: b"\x14"})
    assert store.commit([first]) == [Outcome.COMMITTED]
    before = store.session(session.client_id)
    assert store.commit([first._replace(lifetime=99)]) == [Outcome.COMMITTED]
    assert store.session(session.client_id) == before, "nothing changes, not even a time"
    assert store.commit([first._replace(attempt=bytes(16))]) == [Outcome.NOT_ACCEPTED]
    store.commit([contact(session, 2, {BATTERY: b"\x13"})])
    assert store.commit([first]) == [Outcome.NOT_ACCEPTED]
    assert kept(store, session) == {BATTERY: b"\x13"}


def test_requests_of_one_commit_are_judged_in_order(store: Store, session: Session) -> None:
    requests: list[Change] = [
        contact(session, 2, {BATTERY: b"\x14", FIRMWARE: b"\x61a"}),
        contact(session, 1, {BATTERY: b"\x00"}),
        contact(session, 3, {BATTERY: b"\x13"}),
        Deregister(session.client_id, session.ordinal, 4),
        contact(session, 5, {BATTERY: b"\x01"}),
    ]
    assert store.commit(requests[:3]) == [Outcome.COMMITTED, Outcome.NOT_ACCEPTED, Outcome.COMMITTED]
    assert kept(store, session) == {BATTERY: b"\x13", FIRMWARE: b"\x61a"}
    assert store.commit(requests[3:]) == [Outcome.SESSION_ENDED, Outcome.NOT_ACCEPTED]
    assert all_of(store) == set()


def test_a_report_that_makes_the_record_too_large_raises_only_the_mark(store: Store, session: Session) -> None:
    many = {bytes([0x18, n]): b"\x00" for n in range(100, 164)}
    store.commit([contact(session, 1, many)])
    before = store.session(session.client_id)
    assert before is not None
    too_large = contact(session, 2, {BATTERY: b"\x14"}, lifetime=None)
    assert store.commit([too_large]) == [Outcome.TOO_LARGE]
    assert store.commit([too_large]) == [Outcome.TOO_LARGE]
    assert store.session(session.client_id) == replace(before, mark=2)


def test_keys_of_another_session_do_not_count(store: Store, session: Session, make: Make) -> None:
    assert store.commit([contact(session, 1, {}, ordinal=session.ordinal + 1)]) == [Outcome.NOT_ACCEPTED]
    assert store.commit([contact(session, 1, {}, client_id=session.client_id ^ 1)]) == [Outcome.NOT_ACCEPTED]
    newer = make(device=session.device, client_id=session.client_id, expires_at=None)
    store.commit([newer])
    assert store.commit([contact(session, 1, {BATTERY: b"\x14"})]) == [Outcome.NOT_ACCEPTED]
    assert store.commit([Deregister(session.client_id, session.ordinal, 1)]) == [Outcome.NOT_ACCEPTED]
    assert store.session(newer.client_id) == newer


def test_a_session_that_is_over_accepts_nothing(store: Store, make: Make) -> None:
    over = make(expires_at=int(time.time()) - 1)
    store.commit([over])
    assert (
        store.commit([contact(over, 1, {}), Deregister(over.client_id, over.ordinal, 2)]) == [Outcome.NOT_ACCEPTED] * 2
    )
    assert store.session(over.client_id) == over


def test_a_session_that_an_operator_ended_accepts_nothing(store: Store, session: Session) -> None:
    store.commit([End(session.device, 1)])
    assert store.commit([contact(session, 1, {})]) == [Outcome.NOT_ACCEPTED]


def test_a_new_registration_begins_without_mark_and_record(store: Store, session: Session, make: Make) -> None:
    store.commit([contact(session, 9, {BATTERY: b"\x14"})])
    newer = make(device=session.device)
    assert store.commit([newer]) == [Outcome.REPLACED]
    assert store.session(newer.client_id) == newer


def test_a_session_that_has_deregistered_leaves_its_trace(opening: Open, make: Make) -> None:
    store = opening()
    session = make(expires_at=None)
    late = make(device=session.device, ordinal=session.ordinal, expires_at=None)
    store.commit([session, contact(session, 1, {BATTERY: b"\x14"})])
    assert store.commit([Deregister(session.client_id, session.ordinal, 2)]) == [Outcome.SESSION_ENDED]
    assert store.commit([session, late]) == [Outcome.ENDED, Outcome.ENDED], "the same keys never come back"
    assert store.stats(0).ended == 1


def test_kinds_of_changes_may_be_mixed_in_a_commit(store: Store, make: Make) -> None:
    one, two = make(expires_at=None), make(expires_at=None)
    changes: list[Change] = [
        one,
        contact(one, 1, {}),
        two,
        End(one.device, 5),
        contact(one, 2, {}),
        contact(two, 1, {}),
    ]
    assert store.commit(changes) == [
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.SESSION_ENDED,
        Outcome.NOT_ACCEPTED,
        Outcome.COMMITTED,
    ]


def test_a_session_may_report_and_be_replaced_in_one_commit(store: Store, make: Make) -> None:
    session = make(expires_at=None)
    store.commit([session])
    newer = make(device=session.device, expires_at=None)
    assert store.commit([contact(session, 1, {BATTERY: b"\x14"}), newer]) == [Outcome.COMMITTED, Outcome.REPLACED]
    newest = make(device=session.device, expires_at=None)
    assert store.commit([newest, contact(newer, 1, {BATTERY: b"\x14"})]) == [Outcome.REPLACED, Outcome.NOT_ACCEPTED]
    assert all_of(store) == {newest}


def test_a_client_id_is_taken_until_its_session_has_deregistered(store: Store, session: Session, make: Make) -> None:
    early, late = make(client_id=session.client_id), make(client_id=session.client_id)
    end = Deregister(session.client_id, session.ordinal, 1)
    assert store.commit([early, end]) == [Outcome.CLIENT_ID_TAKEN, Outcome.SESSION_ENDED]
    assert store.commit([late]) == [Outcome.COMMITTED]
    assert all_of(store) == {late}


def test_many_sessions_report_in_one_commit(store: Store, make: Make) -> None:
    sessions = [make(expires_at=None) for _ in range(301)]
    store.commit(sessions)
    reports = [contact(session, 1, {BATTERY: bytes([n % 24])}) for n, session in enumerate(sessions)]
    assert store.commit(reports) == [Outcome.COMMITTED] * 301
    assert [kept(store, session) for session in sessions] == [{BATTERY: bytes([n % 24])} for n in range(301)]


def test_what_a_request_is_decided_by(store: Store, session: Session, make: Make) -> None:
    other = make(expires_at=None, lifetime=None, rule="another")
    store.commit([other, contact(other, 3, {}, lifetime=None), OverridePolicies(other.device, b"\xa0")])
    absent = session.client_id ^ 1
    facts = store.look(Questions(contexts={session.client_id, other.client_id, absent}))
    found = facts.contexts[session.client_id]
    assert (found.found, found.device, found.ordinal) == (True, session.device, session.ordinal)
    assert (found.mark, found.expires_at, found.lifetime) == (None, session.expires_at, 3600)
    assert (found.rule, found.sealed_keys, found.policies) == (session.rule, session.sealed_keys, None)
    found = facts.contexts[other.client_id]
    assert (found.mark, found.expires_at, found.lifetime) == (3, None, None)
    assert (found.rule, found.policies) == ("another", b"\xa0")
    assert not facts.contexts[absent].found
    assert len(facts.contexts) == 3


def test_policies_of_a_device_outlive_its_sessions(store: Store, session: Session, make: Make) -> None:
    assert store.commit([OverridePolicies(session.device, b"\xa1\x00\xa0")]) == [Outcome.COMMITTED]
    store.commit([End(session.device, 1)])
    newer = make(device=session.device)
    store.commit([newer])
    asked = Questions(contexts={newer.client_id})
    assert store.look(asked).contexts[newer.client_id].policies == b"\xa1\x00\xa0"
    assert list(store.measures()) == [OverridePolicies(session.device, b"\xa1\x00\xa0")]
    assert store.commit([OverridePolicies(session.device, None)] * 2) == [Outcome.COMMITTED, Outcome.UNCHANGED]
    assert store.look(asked).contexts[newer.client_id].policies is None
    assert list(store.measures()) == []


def test_a_recovery_brings_back_the_policies_of_a_device(store: Store, session: Session) -> None:
    store.recover([OverridePolicies(session.device, b"\xa0")], 1)
    assert list(store.measures()) == [OverridePolicies(session.device, b"\xa0")]
    assert store.last_ordinal() >= RECOVERY_GAP


def test_of_two_stores_with_one_request_one_accepts_it(opening: Open, make: Make) -> None:
    one, two = opening(), opening()
    session = make(expires_at=None)
    one.commit([session])
    for number in range(1, 20):
        first, second = ((one, two), (two, one))[number % 2]
        outcomes = [store.commit([contact(session, number, {})]) for store in (first, second)]
        assert outcomes == [[Outcome.COMMITTED], [Outcome.NOT_ACCEPTED]]


def test_the_mark_never_falls(store: Store, session: Session) -> None:
    marks = []
    for number in (1, 5, 3, 5, 9, 2, (1 << 40) - 1):
        store.commit([contact(session, number, {})])
        found = store.session(session.client_id)
        assert found is not None
        assert found.mark is not None
        marks.append(found.mark)
    assert all(before <= after for before, after in pairwise(marks))
    assert marks[-1] == (1 << 40) - 1


def test_a_session_expires_when_its_last_contact_says_so(store: Store, make: Make) -> None:
    now = int(time.time())
    sessions = [make(expires_at=now + 100), make(expires_at=now + 100), make(expires_at=None), make(expires_at=now + 9)]
    later, never, sooner, shorter = sessions
    store.commit(sessions)
    lifetimes = {later: 1000, never: None, sooner: 50, shorter: 4}
    store.commit([contact(one, 1, {}, lifetime=lifetime) for one, lifetime in lifetimes.items()])
    ends = {one.client_id: found.expires_at for one in sessions if (found := store.session(one.client_id))}
    assert len(ends) == 4
    for at in (now + 8, now + 8, now + 60, now + 101, now + 101, now + 500):
        assert store.stats(at).ended == len(sessions) - len(ends) + sum(1 for end in ends.values() if end and end <= at)
        over = {client_id for client_id, end in ends.items() if end is not None and end <= at}
        ended = [one for one in sessions if one.client_id in over]
        assert set(store.expire(at)) == {(one.client_id, one.device, one.ordinal) for one in ended}
        ends = {client_id: end for client_id, end in ends.items() if client_id not in over}
    assert set(ends) == {later.client_id, never.client_id}
    assert store.expire(now + 2000) == [(later.client_id, later.device, later.ordinal)]
    assert store.expire(2**40) == []
