"""What becomes of the changes of a commit."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from dpe_server.store.commit_rules import decide
from dpe_server.store.contract import (
    OPERATOR_PATIENCE,
    End,
    Forget,
    Outcome,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Store,
    Unrevoke,
)
from tests.server.store.contract.reading import Make, Open, all_of, minimum_epoch


def test_a_session_comes_back_as_it_was_given(store: Store, make: Make, opening: Open) -> None:
    lasting = make(firmware=None, expires_at=None, client_id=0)
    highest = make(client_id=2**56 - 1, ordinal=2**63 - 1)
    assert store.commit([lasting, highest]) == [Outcome.COMMITTED] * 2
    for reader in (store, opening()):
        assert all_of(reader) == {lasting, highest}
        assert reader.session(0) == lasting
        assert reader.session_of(highest.device) == highest
        assert reader.last_ordinal() == 2**63 - 1


def test_no_changes_are_nothing(store: Store) -> None:
    assert store.commit([]) == []
    assert store.last_ordinal() == 0
    assert all_of(store) == set()


def test_an_operator_may_be_more_patient(store: Store, make: Make) -> None:
    assert store.commit([make()], patience=OPERATOR_PATIENCE) == [Outcome.COMMITTED]


# Sessions


def test_a_newer_session_replaces_the_older_and_its_profile(store: Store, make: Make) -> None:
    old = make()
    new = make(device=old.device, record=b"\x01\0\x01\0\0\0\x07\0\x14")
    store.commit([old])
    assert store.commit([new]) == [Outcome.REPLACED]
    assert all_of(store) == {new}
    assert store.session(old.client_id) is None


def test_client_ids_may_go_round_in_a_batch(store: Store, make: Make) -> None:
    """Whoever takes a Client ID that another session of the batch leaves does so after it has left."""
    one, two = make(), make()
    store.commit([one, two])
    newer = [
        make(device=one.device),
        make(device=two.device, client_id=one.client_id),
        make(device=one.device, client_id=two.client_id),
    ]
    assert store.commit(newer) == [Outcome.REPLACED] * 3
    assert all_of(store) == {newer[1], newer[2]}


@pytest.mark.parametrize("first", [b"\x01", b"\x02"])
def test_a_client_id_is_taken_until_its_session_has_left_it(store: Store, make: Make, first: bytes) -> None:
    """Whatever order the devices have otherwise."""
    other = bytes([3 - first[0]])
    leaving = make(device=first * 16)
    store.commit([leaving])
    moved = make(device=leaving.device)
    heirs = [make(device=other * 16, client_id=leaving.client_id) for _ in range(2)]
    assert store.commit([heirs[0], moved]) == [Outcome.CLIENT_ID_TAKEN, Outcome.REPLACED]
    assert store.commit([heirs[1]]) == [Outcome.COMMITTED]
    assert all_of(store) == {moved, heirs[1]}


def test_a_newer_session_may_keep_the_client_id(store: Store, make: Make) -> None:
    old = make()
    new = make(device=old.device, client_id=old.client_id)
    store.commit([old])
    assert store.commit([new]) == [Outcome.REPLACED]
    assert all_of(store) == {new}


def test_a_newer_session_replaces_one_that_is_over(store: Store, make: Make, now: int) -> None:
    old = make(expires_at=now - 5)
    new = make(device=old.device)
    store.commit([old])
    assert store.commit([new]) == [Outcome.REPLACED]
    assert all_of(store) == {new}


@pytest.mark.parametrize("difference", [0, -1])
def test_a_session_that_is_not_newer_is_superseded(store: Store, make: Make, difference: int) -> None:
    first = make()
    late = make(device=first.device, ordinal=first.ordinal + difference)
    store.commit([first])
    assert store.commit([late]) == [Outcome.SUPERSEDED]
    assert all_of(store) == {first}


def test_the_same_success_again_is_committed_again_and_changes_nothing(store: Store, make: Make, now: int) -> None:
    session = make()
    store.commit([session])
    again = replace(session, established_at=now + 9, confirm=b"other", ordinal=session.ordinal + 1)
    assert store.commit([again, session]) == [Outcome.COMMITTED] * 2
    assert store.commit([again]) == [Outcome.COMMITTED]
    assert all_of(store) == {session}
    assert store.last_ordinal() == session.ordinal


def test_a_client_id_is_never_of_two_devices(store: Store, make: Make) -> None:
    first = make()
    older = make()
    thief = make(client_id=first.client_id, device=older.device)
    store.commit([first, older])
    assert store.commit([thief, make(client_id=first.client_id)]) == [Outcome.CLIENT_ID_TAKEN] * 2
    assert all_of(store) == {first, older}


@pytest.mark.parametrize("life", [0, 90, None])
def test_a_session_that_is_over_keeps_its_client_id_and_older_ones_of_its_device_away(
    store: Store, make: Make, now: int, life: int | None
) -> None:
    """Two workers may offer one Client ID. What the other device had is the witness that it registered last."""
    older = make()
    over = make(device=older.device, expires_at=None if life is None else now + life)
    heir = make(client_id=over.client_id, established_at=now + 100)
    late = replace(older, established_at=now + 200)
    for session, outcome in (
        (over, Outcome.COMMITTED),
        (heir, Outcome.CLIENT_ID_TAKEN),
        (late, Outcome.SUPERSEDED),
    ):
        assert store.commit([session]) == [outcome]
    assert all_of(store) == {over}


def test_the_sessions_of_a_batch_see_each_other_in_order(store: Store, make: Make) -> None:
    first = make()
    second = make(device=first.device)
    heir = make(client_id=first.client_id)
    late = make(device=first.device, ordinal=1)
    assert store.commit([first, second, heir, late, first]) == [
        Outcome.COMMITTED,
        Outcome.REPLACED,
        Outcome.COMMITTED,
        Outcome.SUPERSEDED,
        Outcome.SUPERSEDED,
    ]
    assert all_of(store) == {second, heir}


def test_two_devices_may_exchange_their_client_ids_within_a_batch(store: Store, make: Make) -> None:
    a, b = make(), make()
    store.commit([a, b])
    moved = make(device=a.device)
    new_b = make(device=b.device, client_id=a.client_id)
    new_a = make(device=a.device, client_id=b.client_id)
    assert store.commit([moved, new_b, new_a]) == [Outcome.REPLACED] * 3
    assert all_of(store) == {new_a, new_b}


def test_only_what_lasts_is_written(make: Make) -> None:
    first = make()
    second = make(device=first.device)
    heir = make(client_id=second.client_id, device=first.device)
    other = make(client_id=first.client_id)
    effect = decide([first, second, heir, other], [], set())
    assert effect.outcomes == [Outcome.COMMITTED, Outcome.REPLACED, Outcome.REPLACED, Outcome.COMMITTED]
    assert (effect.ended, effect.started) == ([], [heir, other])


@pytest.mark.parametrize("count", [1, 2, 3, 511, 512, 513, 1500])
def test_batches_of_any_size_are_whole(store: Store, make: Make, count: int) -> None:
    batch = [make() for _ in range(count)]
    assert store.commit(batch) == [Outcome.COMMITTED] * count
    assert all_of(store) == set(batch)
    replacements = [make(device=s.device) for s in batch]
    assert store.commit(replacements) == [Outcome.REPLACED] * count
    assert all_of(store) == set(replacements)


# Sessions that have ended

ENDINGS: dict[str, Callable[[Store, Session], object]] = {
    "revoked, and lifted": lambda store, s: store.commit([Revoke(s.device, 9), Unrevoke(s.device)]),
    "ended": lambda store, s: store.commit([End(s.device, 9)]),
    "forgotten": lambda store, s: store.commit([Forget(s.device, 9)]),
    "expired": lambda store, s: store.expire(s.expires_at or 0),
    "twice": lambda store, s: store.commit([End(s.device, 9), End(s.device, 10), Forget(s.device, 11)]),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())
def test_no_registration_that_is_not_newer_than_an_ended_session_is_committed(
    store: Store, make: Make, opening: Open, end: Callable[[Store, Session], object]
) -> None:
    session = make()
    older = make(device=session.device, ordinal=session.ordinal - 1)
    newer = make(device=session.device)
    store.commit([session])
    end(store, session)
    assert all_of(store) == set()
    for reader in (store, opening()):
        assert reader.commit([session, older, replace(session, ordinal=session.ordinal - 1)]) == [Outcome.ENDED] * 3
        assert all_of(reader) == set()
    assert store.commit([newer, session]) == [Outcome.COMMITTED, Outcome.SUPERSEDED]
    assert all_of(store) == {newer}


def test_what_has_ended_refuses_in_the_same_commit_too(store: Store, make: Make, now: int) -> None:
    session = make()
    newer = make(device=session.device)
    assert store.commit([session, End(session.device, now), session, newer, session]) == [
        Outcome.COMMITTED,
        Outcome.SESSION_ENDED,
        Outcome.ENDED,
        Outcome.COMMITTED,
        Outcome.SUPERSEDED,
    ]
    assert all_of(store) == {newer}


def test_an_ended_session_leaves_its_client_id(store: Store, make: Make, now: int) -> None:
    session = make()
    heir = make(client_id=session.client_id)
    store.commit([session, End(session.device, now)])
    assert store.commit([heir]) == [Outcome.COMMITTED]
    assert store.commit([make(device=session.device, client_id=session.client_id)]) == [Outcome.CLIENT_ID_TAKEN]
    assert store.commit([session]) == [Outcome.ENDED]
    assert all_of(store) == {heir}


def test_who_has_no_session_has_none_to_end(store: Store, make: Make, now: int) -> None:
    session = make()
    store.commit([session])
    assert store.commit([End(os.urandom(16), now), End(session.device, now), End(session.device, now)]) == [
        Outcome.UNCHANGED,
        Outcome.SESSION_ENDED,
        Outcome.UNCHANGED,
    ]


def test_a_trace_goes_when_it_is_pruned_and_its_ordinal_with_it(store: Store, make: Make, now: int) -> None:
    session = make()
    store.commit([session, End(session.device, now)])
    assert store.prune(now) == 0
    assert store.commit([session]) == [Outcome.ENDED]
    assert store.prune(now + 1) == 1
    assert store.commit([session]) == [Outcome.COMMITTED]


def test_a_session_that_is_over_is_not_pruned_before_it_is_ended(store: Store, make: Make, now: int) -> None:
    over = make(expires_at=now - 10_000)
    store.commit([over])
    assert store.prune(now) == 0
    assert [len(store.expire(at)) for at in (now - 10_001, now, now)] == [0, 1, 0]
    assert store.prune(now) == 0, "it ended when that was noticed"
    assert store.prune(now + 1) == 1


# The ordinal


def test_the_last_ordinal_only_rises_and_outlives_every_session(
    store: Store, make: Make, now: int, opening: Open
) -> None:
    high, low = make(ordinal=2**40, expires_at=now), make(ordinal=1, expires_at=now)
    store.commit([high])
    assert store.last_ordinal() == 2**40
    store.commit([low])
    assert store.last_ordinal() == 2**40
    assert store.commit([Revoke(high.device, now)]) == [Outcome.SESSION_ENDED]
    assert len(store.expire(now)) == 1
    assert store.prune(now + 1) == 2
    assert all_of(store) == set()
    assert store.last_ordinal() == opening().last_ordinal() == 2**40


def test_a_session_that_was_replaced_in_its_commit_counts_among_the_ordinals(store: Store, make: Make) -> None:
    old = make()
    store.commit([old, make(device=old.device, ordinal=2**40), Revoke(old.device, 0), make(ordinal=2**30)])
    assert store.last_ordinal() == 2**40


def test_the_ordinal_of_a_session_that_is_not_committed_does_not_count(store: Store, make: Make) -> None:
    session, revoked = make(), make(ordinal=2**40)
    store.commit([session, Revoke(revoked.device, 0)])
    assert store.commit([make(client_id=session.client_id, ordinal=2**40), revoked]) == [
        Outcome.CLIENT_ID_TAKEN,
        Outcome.REVOKED,
    ]
    assert store.last_ordinal() == session.ordinal


# Several kinds in one commit


def test_changes_of_several_kinds_take_effect_in_the_order_given(store: Store, make: Make, now: int) -> None:
    first = make()
    newer = make(device=first.device)
    heir = make(client_id=first.client_id)
    last = make()
    assert store.commit([first, Revoke(first.device, now), newer, heir, SetMinimumEpoch(2), last]) == [
        Outcome.COMMITTED,
        Outcome.SESSION_ENDED,
        Outcome.REVOKED,
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.COMMITTED,
    ]
    assert all_of(store) == {heir, last}
    assert minimum_epoch(store) == 2


def test_a_client_id_is_not_free_before_the_change_that_frees_it(store: Store, make: Make, now: int) -> None:
    session = make()
    early, late = make(client_id=session.client_id), make(client_id=session.client_id)
    store.commit([session])
    assert store.commit([early, Revoke(session.device, now), late, Revoke(early.device, now)]) == [
        Outcome.CLIENT_ID_TAKEN,
        Outcome.SESSION_ENDED,
        Outcome.COMMITTED,
        Outcome.COMMITTED,
    ]
    assert all_of(store) == {late}


def test_a_device_that_is_revoked_first_gets_no_session_in_the_same_commit(store: Store, make: Make, now: int) -> None:
    session = make()
    assert store.commit([RestrictEpoch(session.device, 1), Revoke(session.device, now), session]) == [
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.REVOKED,
    ]
    assert all_of(store) == set()
