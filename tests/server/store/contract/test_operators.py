"""What operators and housekeeping ask of a store."""

import os
from collections.abc import Callable, Iterator

import pytest

from dpe_coap.messages import Version
from dpe_server.store.contract import (
    PRUNE_CHUNK,
    End,
    Measure,
    Outcome,
    RestrictEpoch,
    Revoke,
    Session,
    SetMinimumEpoch,
    Stats,
    Store,
    Unrevoke,
)
from dpe_server.store.listing import ALL, Wanted
from dpe_tools.simulation.memory_store import Disk, MemoryStore

Make = Callable[..., Session]


def test_a_session_is_found_by_client_id_and_by_device_until_it_is_ended(store: Store, make: Make, now: int) -> None:
    lasting, over = make(expires_at=None), make(expires_at=now - 1000)
    store.commit([lasting, over])
    for session in (lasting, over):
        assert store.session(session.client_id) == session
        assert store.session_of(session.device) == session
    assert store.session(lasting.client_id ^ 1) is None
    assert store.session_of(os.urandom(16)) is None
    store.expire(now)
    assert store.session(over.client_id) is store.session_of(over.device) is None
    assert store.session(lasting.client_id) == store.session_of(lasting.device) == lasting


def test_live_sessions_are_those_not_over_by_ascending_client_id(store: Store, make: Make, now: int) -> None:
    over, last_second, lasting = make(expires_at=now), make(expires_at=now + 1), make(expires_at=None)
    store.commit([over, last_second, lasting])
    by_client_id = sorted((last_second, lasting), key=lambda session: session.client_id)
    assert list(store.live(now)) == by_client_id
    assert list(store.live(now + 1)) == [lasting]
    assert len(list(store.live(now - 1))) == 3


def test_the_next_sessions_are_those_above_a_client_id_over_or_not(store: Store, make: Make, now: int) -> None:
    sessions = [make(), make(expires_at=now - 1), make(firmware=None)]
    store.commit(sessions)
    first, second, third = sorted(session.client_id for session in sessions)
    found = store.next_listed(-1, 2)
    assert [one.client_id for one in found] == [first, second]
    assert [one.client_id for one in store.next_listed(second, 2)] == [third]
    assert store.next_listed(third, 2) == []
    by_client_id = {session.client_id: session for session in sessions}
    for one in found:
        session = by_client_id[one.client_id]
        assert (one.device, one.rule, one.version) == (session.device, session.rule, session.version)
        assert (one.firmware, one.expires_at, one.record) == (session.firmware, session.expires_at, session.record)


def test_live_has_every_session_that_lasts_once_whatever_is_committed_meanwhile(
    store: Store, make: Make, now: int
) -> None:
    sessions = [make() for _ in range(2_500)]
    store.commit(sessions)
    live = store.live(now)
    found = [next(live)]
    leaving, lasting = sessions[::3], [session for n, session in enumerate(sessions) if n % 3]
    store.commit([make(device=session.device) for session in leaving[::2]])
    store.commit([End(session.device, now) for session in leaving[1::2]])
    found += live
    assert [session for session in found if session in lasting] == sorted(lasting, key=lambda s: s.client_id)
    assert len({session.client_id for session in found}) == len(found)


def test_a_list_has_the_sessions_that_are_wanted(store: Store, make: Make, now: int) -> None:
    plain = make(epoch=1, firmware=None, seen_at=now - 50)
    newer = make(epoch=2, version=Version(1, 3), seen_at=now - 10)
    silent = make(epoch=None, rule="lab", established_at=now - 500)
    over = make(epoch=1, expires_at=now)
    store.commit([plain, newer, silent, over])
    found = {one.client_id: one for one in store.listed(ALL, now)}
    assert list(found) == sorted(one.client_id for one in (plain, newer, silent))
    assert store.count(ALL, now) == 3
    for session in (plain, newer, silent):
        one = found[session.client_id]
        assert (one.device, one.firmware, one.suite) == (session.device, session.firmware, session.suite)
        assert (one.version, one.rule, one.epoch) == (session.version, session.rule, session.epoch)
        assert (one.established_at, one.expires_at) == (session.established_at, session.expires_at)
        assert one.record == session.record
    assert {one.heard_at for one in found.values()} == {now - 50, now - 10, now - 500}
    for wanted, fitting in (
        (Wanted(rule="lab"), [silent]),
        (Wanted(version=Version(1, 3)), [newer]),
        (Wanted(firmware="fw-7 \N{GREEK SMALL LETTER MU}"), [newer, silent]),
        (Wanted(epoch=1), [plain]),
        (Wanted(below_epoch=2), [plain]),
        (Wanted(below_epoch=3), [plain, newer]),
        (Wanted(unknown_epoch=True), [silent]),
        (Wanted(heard_before=now - 50), [silent]),
        (Wanted(heard_before=now - 49), [plain, silent]),
        (Wanted(below_epoch=3, heard_before=now - 20, rule="everyone"), [plain]),
        (Wanted(rule="x' OR '1'='1"), []),
    ):
        assert {one.client_id for one in store.listed(wanted, now)} == {one.client_id for one in fitting}, wanted
        assert store.count(wanted, now) == len(fitting), wanted
    assert not any(one.device.hex() in repr(one) for one in found.values())


def test_stats_count_what_is_live_ended_and_revoked(store: Store, make: Make, now: int) -> None:
    assert store.stats(now) == Stats(live=0, ended=0, revoked=0)
    over, last_second, lasting, revoked = make(expires_at=now), make(expires_at=now + 1), make(expires_at=None), make()
    store.commit([over, last_second, lasting, revoked, Revoke(revoked.device, now), Revoke(os.urandom(16), now)])
    store.commit([RestrictEpoch(over.device, 1)])
    assert store.stats(now) == Stats(live=2, ended=2, revoked=2)
    assert store.stats(now + 1) == Stats(live=1, ended=3, revoked=2)
    assert store.stats(now - 1) == Stats(live=3, ended=1, revoked=2)


def test_housekeeping_takes_a_chunk_and_keeps_what_has_not_ended_long_enough(
    store: Store, make: Make, now: int
) -> None:
    over = [make(expires_at=now - 1) for _ in range(2 * PRUNE_CHUNK + 1)]
    kept = {make(expires_at=now), make(expires_at=None)}
    store.commit([*over, *kept])
    chunks = [PRUNE_CHUNK, PRUNE_CHUNK, 1, 0]
    assert [len(store.expire(now - 1)) for _ in range(4)] == chunks
    assert store.prune(now - 1) == 0
    assert [store.prune(now) for _ in range(4)] == chunks
    assert set(store.live(-1)) == kept


def test_what_has_ended_makes_room_for_another_device(store: Store, make: Make, now: int) -> None:
    over = make(expires_at=now - 1)
    heir = make(client_id=over.client_id)
    store.commit([over])
    store.expire(now)
    store.commit([heir])
    assert set(store.live(-1)) == {heir}


def test_the_measures_that_hold_are_told_and_impose_the_same_on_another_store(
    store: Store, make: Make, now: int
) -> None:
    devices = sorted(os.urandom(16) for _ in range(2_300))
    store.commit([Revoke(device, now + n) for n, device in enumerate(devices)])
    store.commit([RestrictEpoch(devices[0], 3), RestrictEpoch(devices[1], 2), Unrevoke(devices[1]), SetMinimumEpoch(4)])
    store.commit([Revoke(devices[2], now + 99), Unrevoke(devices[3])])
    told = list(store.measures())
    assert told == [
        Revoke(devices[0], now),
        RestrictEpoch(devices[0], 3),
        RestrictEpoch(devices[1], 2),
        Revoke(devices[2], now + 2),
        *(Revoke(device, now + 4 + n) for n, device in enumerate(devices[4:])),
        SetMinimumEpoch(4),
    ]
    other = MemoryStore(Disk())
    other.recover(told, now)
    assert list(other.measures()) == told


def test_on_whom_nothing_is_imposed_there_are_no_measures(store: Store, make: Make) -> None:
    store.commit([make(), RestrictEpoch(os.urandom(16), 0)])
    assert list(store.measures()) == []


def test_a_recovery_ends_every_session_keeps_the_ordinals_and_repeats_what_operators_did(
    store: Store, make: Make, now: int
) -> None:
    sessions = [make() for _ in range(5)]
    trace = make()
    store.commit([*sessions, trace, End(trace.device, now - 50), Revoke(sessions[0].device, now - 40)])
    last = store.last_ordinal()
    lifted, stolen = sessions[0], sessions[1]
    measures: list[Measure] = [Unrevoke(lifted.device), Revoke(stolen.device, now - 9), SetMinimumEpoch(2)]
    assert store.recover(iter(measures), now) == 4
    assert list(store.live(-1)) == []
    assert store.last_ordinal() == last + 2**20
    assert list(store.measures()) == [Revoke(stolen.device, now - 9), SetMinimumEpoch(2)]
    assert store.commit([*sessions, trace]) == [
        Outcome.ENDED,
        Outcome.REVOKED,
        *[Outcome.ENDED] * 4,
    ]
    assert store.commit([make(device=lifted.device)]) == [Outcome.COMMITTED]


def test_a_recovery_that_fails_changes_nothing(store: Store, make: Make, now: int) -> None:
    session = make()
    store.commit([session])

    def measures() -> Iterator[Measure]:
        yield Revoke(session.device, now)
        raise ValueError("a line that cannot be read")

    with pytest.raises(ValueError, match="a line"):
        store.recover(measures(), now)
    assert list(store.live(-1)) == [session]
    assert list(store.measures()) == []
    assert store.last_ordinal() == session.ordinal
