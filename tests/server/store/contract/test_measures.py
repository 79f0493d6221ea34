"""What operators change, and what that leaves of a device."""

import os

import pytest

from dpe_coap.errors import LocalError
from dpe_server.store.contract import (
    NOBODY,
    Change,
    End,
    Forget,
    Outcome,
    RestrictEpoch,
    Revoke,
    SetMinimumEpoch,
    Store,
    Unrevoke,
)
from dpe_server.store.questions import Restriction
from tests.server.store.contract.reading import Make, Open, all_of, minimum_epoch, restrictions


def test_a_lifted_revocation_lets_the_device_register_again(store: Store, make: Make, now: int) -> None:
    session = make()
    newer = make(device=session.device)
    store.commit([session, Revoke(session.device, now)])
    assert store.commit([Unrevoke(session.device), newer]) == [Outcome.COMMITTED] * 2
    assert restrictions(store, session.device) == {}
    assert all_of(store) == {newer}


def test_lifting_says_whether_there_was_a_revocation_and_keeps_the_minimum_epoch(store: Store, now: int) -> None:
    device = os.urandom(16)
    changes: list[Change] = [Unrevoke(device), RestrictEpoch(device, 4), Unrevoke(device)]
    changes += [Revoke(device, now), Unrevoke(device), Unrevoke(device)]
    assert store.commit(changes) == [
        Outcome.UNCHANGED,
        Outcome.COMMITTED,
        Outcome.UNCHANGED,
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.UNCHANGED,
    ]
    assert restrictions(store, device) == {device: Restriction(minimum_epoch=4)}


def test_the_name_of_nobody_stays(store: Store, now: int) -> None:
    store.commit([Unrevoke(NOBODY), Revoke(NOBODY, now), Unrevoke(NOBODY), Forget(NOBODY, now)])
    assert restrictions(store, NOBODY) == {NOBODY: Restriction()}


def test_a_device_that_is_forgotten_stays_revoked_and_nothing_else(store: Store, make: Make, now: int) -> None:
    session, revoked, trace, unknown = make(), make(), make(), make()
    store.commit([session, RestrictEpoch(session.device, 3)])
    store.commit([RestrictEpoch(revoked.device, 3), Revoke(revoked.device, now), trace, End(trace.device, now)])
    assert store.commit([Forget(s.device, now - 50) for s in (session, revoked, trace, unknown)]) == [
        Outcome.SESSION_ENDED,
        Outcome.COMMITTED,
        Outcome.COMMITTED,
        Outcome.UNCHANGED,
    ]
    devices = [s.device for s in (session, revoked, trace)]
    assert restrictions(store, *devices) == {revoked.device: Restriction(revoked=True)}
    assert all_of(store) == set()
    assert store.prune(now - 49) == 2, "their traces are dated as was said"


def test_a_revoked_device_loses_its_session_and_gets_none(store: Store, make: Make, now: int) -> None:
    session, other = make(), make()
    store.commit([session])
    assert store.commit([Revoke(session.device, now)]) == [Outcome.SESSION_ENDED]
    assert all_of(store) == set()
    newer = make(device=session.device)
    assert store.commit([session, newer, other]) == [Outcome.REVOKED, Outcome.REVOKED, Outcome.COMMITTED]
    assert all_of(store) == {other}


def test_a_session_past_its_end_is_ended_by_revocation_too(store: Store, make: Make, now: int) -> None:
    session = make(expires_at=now - 100)
    store.commit([session])
    assert store.commit([Revoke(session.device, now)]) == [Outcome.SESSION_ENDED]


def test_a_device_may_be_revoked_that_has_no_session_or_is_revoked(store: Store, now: int) -> None:
    device = os.urandom(16)
    assert store.commit([Revoke(device, now), Revoke(device, now + 1)]) == [Outcome.COMMITTED] * 2
    assert restrictions(store, device) == {device: Restriction(revoked=True)}


def test_restrictions_lie_side_by_side_and_the_last_of_a_kind_holds(store: Store, now: int) -> None:
    revoked_later, revoked_before, not_revoked = (os.urandom(16) for _ in range(3))
    changes: list[Change] = [
        RestrictEpoch(revoked_later, 255),
        Revoke(revoked_before, now),
        RestrictEpoch(not_revoked, 0),
        RestrictEpoch(revoked_later, 7),
        Revoke(revoked_later, now),
        RestrictEpoch(revoked_before, 2),
    ]
    assert store.commit(changes) == [Outcome.COMMITTED] * 6
    assert restrictions(store, revoked_later, revoked_before) == {
        revoked_later: Restriction(revoked=True, minimum_epoch=7),
        revoked_before: Restriction(revoked=True, minimum_epoch=2),
    }
    assert restrictions(store, not_revoked).get(not_revoked, Restriction()) == Restriction()


def test_a_minimum_epoch_keeps_nobody_from_a_session_and_ends_none(store: Store, make: Make) -> None:
    """It is for whoever decides about a REQUEST to heed."""
    session = make()
    store.commit([session])
    assert store.commit([RestrictEpoch(session.device, 3), SetMinimumEpoch(4)]) == [Outcome.COMMITTED] * 2
    newer = make(device=session.device)
    assert store.commit([newer]) == [Outcome.REPLACED]
    assert all_of(store) == {newer}


def test_the_minimum_epoch_of_all_devices(store: Store, opening: Open) -> None:
    assert minimum_epoch(store) == 0
    for epoch in (3, 255, 0, 2):
        assert store.commit([SetMinimumEpoch(epoch)]) == [Outcome.COMMITTED]
        assert minimum_epoch(store) == minimum_epoch(opening()) == epoch
    store.commit([SetMinimumEpoch(9), SetMinimumEpoch(5)])
    assert minimum_epoch(store) == 5


@pytest.mark.parametrize("epoch", [-1, 256])
@pytest.mark.parametrize("of_all", [True, False])
def test_an_epoch_that_is_none_is_refused_and_nothing_has_happened(
    store: Store, make: Make, epoch: int, of_all: bool
) -> None:
    session, device = make(), os.urandom(16)
    bad = SetMinimumEpoch(epoch) if of_all else RestrictEpoch(device, epoch)
    with pytest.raises(LocalError, match=f"not a key epoch: {epoch}") as caught:
        store.commit([session, Revoke(device, 1), SetMinimumEpoch(1), bad, make()])
    assert caught.value.hint == "an epoch is 0 to 255"
    assert all_of(store) == set()
    assert (store.last_ordinal(), minimum_epoch(store), restrictions(store, device)) == (0, 0, {})
    assert store.commit([session]) == [Outcome.COMMITTED]
