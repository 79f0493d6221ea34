"""What a store answers to the questions of a batch."""

import os
from collections.abc import Callable

import pytest

from dpe_server.store.contract import (
    NOBODY,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Store,
)
from dpe_server.store.questions import Confirmed, Facts, Questions, Restriction

Make = Callable[..., Session]

EACH: dict[str, Questions] = {
    "restrictions": Questions(restrictions={b"r" * 16}),
    "client_ids_of": Questions(client_ids_of={b"c" * 16}),
    "holders": Questions(holders={1}),
    "in_use": Questions(in_use={(1, 2)}),
    "confirmed": Questions(confirmed={3}),
}


def test_no_questions_are_false_and_any_is_true() -> None:
    assert not Questions()
    for name, questions in EACH.items():
        assert questions, name


def test_questions_are_added_to_others() -> None:
    together = Questions(holders={9}, restrictions={b"r" * 16})
    for questions in EACH.values():
        together.add(questions)
    assert together == Questions({b"r" * 16}, {b"c" * 16}, {1, 9}, {(1, 2)}, {3})
    assert EACH["holders"] == Questions(holders={1})


def test_who_asks_nothing_learns_nothing(store: Store, make: Make) -> None:
    store.commit([make(), RestrictEpoch(os.urandom(16), 1)])
    facts = store.look(Questions())
    assert facts == Facts()
    assert facts.minimum_epoch == 255, "who has not asked takes no epoch for a good one"


@pytest.mark.parametrize("name", EACH)
def test_an_empty_store_has_an_answer_to_each_question(store: Store, name: str) -> None:
    expected = Facts()
    if name == "restrictions":
        expected.minimum_epoch = 0
    if name == "in_use":
        expected.in_use = {(1, 2): set()}
    if name == "confirmed":
        expected.confirmed = {3: Confirmed(bytes(32), None, b"")}
    assert store.look(EACH[name]) == expected


def test_a_device_with_nothing_laid_on_it_is_absent_and_nobody_is_there(store: Store, make: Make) -> None:
    revoked, restricted, plain = os.urandom(16), os.urandom(16), make()
    store.commit([Revoke(revoked, 1), RestrictEpoch(restricted, 3), plain])
    facts = store.look(Questions(restrictions={NOBODY, revoked, restricted, plain.device, os.urandom(16)}))
    assert facts == Facts(
        minimum_epoch=0,
        restrictions={
            NOBODY: Restriction(revoked=False, minimum_epoch=0),
            revoked: Restriction(revoked=True),
            restricted: Restriction(minimum_epoch=3),
        },
    )


def test_with_any_device_the_minimum_epoch_of_all_is_told(store: Store) -> None:
    store.commit([SetMinimumEpoch(5)])
    for device in (NOBODY, os.urandom(16)):
        assert store.look(Questions(restrictions={device})).minimum_epoch == 5


def test_which_client_id_a_device_has(store: Store, make: Make) -> None:
    one, two = make(), make()
    store.commit([one, two, make()])
    asked = {one.device, two.device, os.urandom(16), NOBODY}
    assert store.look(Questions(client_ids_of=asked)) == Facts(
        client_ids_of={one.device: one.client_id, two.device: two.client_id}
    )


def test_which_device_has_a_client_id(store: Store, make: Make) -> None:
    lowest, highest = make(client_id=0), make(client_id=2**56 - 1)
    store.commit([lowest, highest, make(client_id=7)])
    assert store.look(Questions(holders={0, 1, 2**56 - 1})) == Facts(
        holders={0: lowest.device, 2**56 - 1: highest.device}
    )


def test_which_client_ids_of_ranges_are_in_use(store: Store, make: Make) -> None:
    numbers = {0, 9, 10, 15, 20, 21, 2**56 - 1}
    store.commit([make(client_id=n) for n in numbers])
    expected = {
        (10, 20): {10, 15, 20},
        (15, 21): {15, 20, 21},
        (0, 2**56 - 1): numbers,
        (9, 9): {9},
        (11, 14): set(),
    }
    assert store.look(Questions(in_use=set(expected))) == Facts(in_use=expected)
    for asked, found in expected.items():
        assert store.look(Questions(in_use={asked})).in_use == {asked: found}


def test_how_sessions_were_confirmed_and_that_nobodys_fits_no_success(store: Store, make: Make) -> None:
    one, lasting = make(client_id=1000), make(client_id=3000, expires_at=None)
    store.commit([one, lasting])
    below, between, above = 0, 2000, 2**56 - 1
    found = store.look(Questions(confirmed={1000, 3000, below, between, above})).confirmed
    assert found.pop(1000) == Confirmed(one.success_hash, one.expires_at, one.confirm)
    assert found.pop(3000) == Confirmed(lasting.success_hash, None, lasting.confirm)
    assert {client_id: nobodys.success_hash for client_id, nobodys in found.items()} == dict.fromkeys(
        (below, between, above), bytes(32)
    )


def test_sessions_past_their_end_count_until_they_are_ended(store: Store, make: Make, now: int) -> None:
    over = make(expires_at=now - 1000)
    store.commit([over])
    asked = Questions(
        client_ids_of={over.device},
        holders={over.client_id},
        in_use={(over.client_id, over.client_id)},
        confirmed={over.client_id},
    )
    facts = store.look(asked)
    assert facts.client_ids_of == {over.device: over.client_id}
    assert facts.holders == {over.client_id: over.device}
    assert facts.in_use == {(over.client_id, over.client_id): {over.client_id}}
    assert facts.confirmed == {over.client_id: Confirmed(over.success_hash, over.expires_at, over.confirm)}
    store.expire(now)
    facts = store.look(asked)
    assert (facts.client_ids_of, facts.holders) == ({}, {})
    assert facts.in_use == {(over.client_id, over.client_id): set()}
    assert facts.confirmed[over.client_id].success_hash == bytes(32)


def test_very_many_questions_of_every_kind_are_one_look(
    store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.remote:
        monkeypatch.setattr("dpe_server.store.postgresql.store.LOOK_PATIENCE", 60.0)  # the machine may be slow
    session = make()
    store.commit([session, RestrictEpoch(session.device, 4)])
    devices = {os.urandom(16) for _ in range(100_000)}  # above any limit on the variables of a statement
    numbers = {int.from_bytes(device[:7], "big") for device in devices}
    facts = store.look(
        Questions(
            restrictions={*devices, session.device},
            client_ids_of={*devices, session.device},
            holders={*numbers, session.client_id},
            in_use={(n, n) for n in range(100)} | {(session.client_id,) * 2},
            confirmed={*numbers, session.client_id},
        )
    )
    assert facts.restrictions == {session.device: Restriction(minimum_epoch=4)}
    assert facts.client_ids_of == {session.device: session.client_id}
    assert facts.holders == {session.client_id: session.device}
    assert {asked for asked, found in facts.in_use.items() if found} == {(session.client_id,) * 2}
    assert len(facts.in_use) == 101
    assert facts.confirmed.keys() == {*numbers, session.client_id}
    assert facts.confirmed[session.client_id].success_hash == session.success_hash
