"""The table of transactions: compact, bounded, the oldest first to go, nothing in it for the garbage collector."""

import gc
import tracemalloc
from dataclasses import replace
from math import inf
from os import urandom
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpe_coap.messages import Version
from dpe_coap.numbers import Status
from dpe_server.policy import Terms
from dpe_server.registration import transaction_table as module
from dpe_server.registration.containers import Queue
from dpe_server.registration.transaction_table import PER_DEVICE, Transactions
from dpe_server.registration.transactions import LIFE, Event, Offer, State, Transaction

TERMS = Terms("everyone", 86_400)


def offer(client_id: int = 7, **fields: object) -> Offer:
    made = {
        "imei": bytes.fromhex("35209900176148"),
        "version": Version(1, 3),
        "firmware": None,
        "suite": 1,
        "epoch": 1,
        "terms": TERMS,
        "prk3": urandom(32),
    }
    return Offer(client_id, **{**made, **fields})  # type: ignore[arg-type]


def pending(device: bytes | None = None, client_id: int = 7, ends: float = LIFE, *, freshness: int = 9) -> Transaction:
    device = urandom(16) if device is None else device
    return made(device, ends, Status.OK, urandom(72), freshness=freshness, offer=offer(client_id), state=State.PENDING)


def refused(device: bytes | None = None, ends: float = LIFE) -> Transaction:
    device = urandom(16) if device is None else device
    return made(device, ends, Status.REFUSED, urandom(45))


def made(device: bytes, ends: float, status: Status, response: bytes, freshness: int = 9, **more: Any) -> Transaction:
    return Transaction(urandom(32), device, freshness, 5, ends, status, response, **more)


def same(one: Transaction | None, other: Transaction) -> bool:
    return one is not None and all(getattr(one, name) == getattr(other, name) for name in Transaction.__slots__)


def offered(table: Transactions, client_id: int) -> list[Transaction]:
    """Return the transactions of a Client ID, without the one that stands for none."""
    return [t for t in table.of_client_id(client_id) if t.ends < inf]


firmwares = st.none() | st.text(min_size=1, max_size=8)


@given(
    freshness=st.integers(0, 2**32 - 1),
    ordinal=st.integers(0, 2**62),
    ends=st.floats(0, 1e9),
    status=st.sampled_from([s for s in Status if s < Status.DECLINED]),
    response=st.binary(min_size=16, max_size=256),
    offered=st.none()
    | st.builds(
        Offer,
        client_id=st.integers(0, 2**56 - 1),
        imei=st.binary(min_size=7, max_size=7),
        version=st.builds(Version, st.integers(0, 255), st.integers(0, 255)),
        firmware=firmwares,
        suite=st.sampled_from([1, 2]),
        epoch=st.integers(0, 255),
        terms=st.builds(Terms, st.text(), st.none() | st.integers(1, 2**32)),
        prk3=st.binary(min_size=32, max_size=32),
    ),
)
def test_a_transaction_comes_back_as_it_was(
    freshness: int, ordinal: int, ends: float, status: Status, response: bytes, offered: Offer | None
) -> None:
    state = State.ANSWERED if offered is None else State.PENDING
    given = Transaction(
        th1=urandom(32),
        device=urandom(16),
        freshness=freshness,
        ordinal=ordinal,
        ends=ends,
        status=status,
        response=response,
        offer=offered,
        state=state,
    )
    table = Transactions(urandom)
    table.add(given)
    assert same(table.of_request(given.th1), given)
    assert [same(t, given) for t in table.of_device(given.device)] == [True]
    if offered is not None:
        assert [same(t, given) for t in table.of_client_id(offered.client_id)] == [True]
        assert table.is_reserved(offered.client_id)
    table.remove(given)
    assert (len(table), table.of_device(given.device)) == (0, [])
    assert offered is None or not table.is_reserved(offered.client_id)


def test_what_only_success_needs_goes_with_it() -> None:
    table = Transactions(urandom)
    transaction = pending()
    table.add(transaction)
    th3 = urandom(32)
    table.move(transaction, Event.CONFIRMED, th3=th3)
    assert table.of_request(transaction.th1) is transaction, "while the commit is under way there is one object"
    assert table.is_reserved(7)
    table.move(transaction, Event.COMMITTED)
    kept = table.of_request(transaction.th1)
    assert kept is not None
    assert kept is not transaction
    assert (kept.state, kept.th3) == (State.ESTABLISHED, th3)
    assert kept.offer is not None
    assert (kept.offer.imei, kept.offer.firmware) == (bytes(7), None)
    assert not table.is_reserved(7)


def test_a_device_that_has_one_handle_keeps_its_newest() -> None:
    table = Transactions(urandom)
    mine = [pending(b"d" * 16, client_id) for client_id in range(PER_DEVICE + 2)]
    for transaction in mine:
        table.add(transaction)
    assert [t.th1 for t in table.of_device(b"d" * 16)] == [t.th1 for t in mine[2:]]
    assert not table.is_reserved(1)
    assert len(table) == PER_DEVICE


def added(table: Transactions, *several: Transaction) -> list[int]:
    """Add transactions of one device; return the freshness of those that it has then, in the order they came in."""
    for transaction in several:
        table.add(transaction)
    return [t.freshness for t in table.of_device(several[0].device)]


@pytest.mark.parametrize(
    ("there", "comes", "stay"),
    [
        ([5, 3, 4, 6], 7, [5, 4, 6, 7]),  # the oldest handle makes room
        ([5, 4, 6, 3], 7, [5, 4, 6, 7]),  # even if it came last
        ([5, 3, 4, 6], 1, [5, 4, 6, 1]),  # for the new one, though that is older still
        ([3, 3, 4, 6], 3, [3, 4, 6, 3]),  # between equals, the one that came first
        ([3, 3, 3, 3], 3, [3, 3, 3, 3]),
        ([2**32 - 1, 0, 2**31, 1], 0, [2**32 - 1, 2**31, 1, 0]),
    ],
)
def test_the_oldest_handle_of_a_device_makes_room(there: list[int], comes: int, stay: list[int]) -> None:
    several = [pending(b"d" * 16, number, freshness=fresh) for number, fresh in enumerate(there)]
    newcomer = pending(b"d" * 16, 9, freshness=comes)
    table = Transactions(urandom)
    assert added(table, *several, newcomer) == stay
    assert same(table.of_request(newcomer.th1), newcomer)
    gone = [n for n in range(4) if not table.is_reserved(n)]
    assert gone == [there.index(min(there))], "its Client ID is free again"


def test_of_forty_recordings_with_older_handles_none_pushes_a_fresh_one_out() -> None:
    fresh = pending(b"d" * 16, 7, freshness=1_000)
    recordings = [pending(b"d" * 16, 100 + n, freshness=Random(n).randrange(1_000)) for n in range(40)]
    table = Transactions(urandom)
    assert added(table, fresh, *recordings)[0] == 1_000
    assert same(table.of_request(fresh.th1), fresh)
    assert same(table.of_request(recordings[-1].th1), recordings[-1]), "none was refused"
    assert len(table) == PER_DEVICE


def test_four_recordings_with_the_same_handle_push_it_out_and_the_next_handle_stays() -> None:
    table = Transactions(urandom)
    device = b"d" * 16
    first = pending(device, 7, freshness=1_000)
    recordings = [pending(device, 100 + n, freshness=1_000) for n in range(8)]
    added(table, first, *recordings[:3])
    assert table.of_request(first.th1) is not None
    added(table, recordings[3])
    assert table.of_request(first.th1) is None
    assert added(table, pending(device, 8, freshness=1_001), *recordings[4:]) == [1_001, 1_000, 1_000, 1_000]


def test_an_older_handle_that_awaits_its_commit_does_not_make_room() -> None:
    table = Transactions(urandom)
    oldest = pending(b"d" * 16, 0, freshness=1)
    added(table, oldest, *(pending(b"d" * 16, n, freshness=n) for n in (4, 3, 5)))
    table.move(oldest, Event.CONFIRMED)
    assert added(table, pending(b"d" * 16, 6, freshness=6)) == [1, 4, 5, 6]
    assert table.of_request(oldest.th1) is oldest


def test_what_awaits_its_commit_does_not_make_room() -> None:
    table = Transactions(urandom)
    waiting, *others = [pending(b"d" * 16, client_id) for client_id in range(PER_DEVICE)]
    for transaction in (waiting, *others):
        table.add(transaction)
    for transaction in (waiting, others[0], others[1], others[2]):
        table.move(transaction, Event.CONFIRMED)
    table.add(pending(b"d" * 16, PER_DEVICE))
    assert len(table) == PER_DEVICE + 1
    assert all(table.is_reserved(client_id) for client_id in range(PER_DEVICE + 1))
    for transaction in others:
        table.move(transaction, Event.COMMITTED)
    newest = pending(b"d" * 16, PER_DEVICE + 1)
    table.add(newest)
    assert len(table) == PER_DEVICE
    assert table.of_request(waiting.th1) is waiting
    assert same(table.of_request(newest.th1), newest)
    assert table.of_request(others[0].th1) is None


def test_the_bounds_of_the_protocol() -> None:
    """As docs/protocol.md has them, and 600 MB and a few milliseconds allow."""
    assert (LIFE, PER_DEVICE) == (300.0, 4)
    assert (module.TOTAL, module.REMOVED_AT_ONCE, module.NOBODYS) == (1_048_576, 1_024, 256)


def test_no_secret_in_a_repr() -> None:
    transaction = pending()
    offered = f"Offer(client_id=7, version={Version(1, 3)!r}, firmware=None, suite=1, epoch=1, terms={TERMS!r})"
    shown = f"freshness=9, ordinal=5, ends=300.0, status={Status.OK!r}, offer={offered}, state={State.PENDING!r}"
    assert repr(transaction) == f"Transaction({shown})"


def test_the_states_and_events_say_what_they_mean() -> None:
    assert {state.name: state.meaning for state in State} == {
        "ANSWERED": "answered with a refusal",
        "PENDING": "Client ID offered",
        "COMMITTING": "SUCCESS verified, not durable yet",
        "ESTABLISHED": "session durable",
        "RELEASED": "declined by the client",
        "SUPERSEDED": "a newer registration of the device won",
    }
    assert {event.name: event.meaning for event in Event} == {
        "CONFIRMED": "SUCCESS with status ok",
        "DECLINED": "SUCCESS with another status",
        "COMMITTED": "the commit is durable",
        "STORE_FAILED": "the commit failed, or is unknown",
        "NEWER_WON": "a newer registration of the device is durable",
    }


def test_every_move_that_is_not_in_the_table_is_refused() -> None:
    moves = {
        (State.PENDING, Event.CONFIRMED): State.COMMITTING,
        (State.PENDING, Event.DECLINED): State.RELEASED,
        (State.COMMITTING, Event.COMMITTED): State.ESTABLISHED,
        (State.COMMITTING, Event.STORE_FAILED): State.PENDING,
        (State.COMMITTING, Event.NEWER_WON): State.SUPERSEDED,
        (State.ESTABLISHED, Event.NEWER_WON): State.SUPERSEDED,
    }
    for state in State:
        for event in Event:
            table, transaction = Transactions(urandom), pending()
            transaction.state = state
            table.add(transaction)
            if (state, event) in moves:
                table.move(transaction, event)
                assert transaction.state is moves[state, event]
            else:
                with pytest.raises(KeyError):
                    table.move(transaction, event)
                assert transaction.state is state
            (kept,) = table.of_device(transaction.device)
            assert kept.state is transaction.state


def test_what_had_to_go_meanwhile_stays_away() -> None:
    table = Transactions(urandom)
    transaction = pending()
    table.add(transaction)
    table.remove(transaction)
    table.remove(transaction)
    table.move(transaction, Event.CONFIRMED)
    assert len(table) == 0
    assert table.of_request(transaction.th1) is None
    assert not table.is_reserved(7)


@pytest.mark.parametrize("removed", [True, False])
def test_a_request_that_begins_another_transaction_while_the_first_awaits_its_commit(removed: bool) -> None:
    """The first has had to go: what becomes of it is not written over the second, under whose Client ID that lies."""
    table = Transactions(urandom, total=1)
    first = pending(client_id=1)
    table.add(first)
    table.move(first, Event.CONFIRMED)
    table.add(pending(client_id=2))  # the first makes room
    second = replace(pending(first.device, client_id=3, ends=LIFE + 1), th1=first.th1)
    table.add(second)
    if removed:
        table.remove(first)
    else:
        table.move(first, Event.COMMITTED)
    assert same(table.of_request(first.th1), second)
    assert offered(table, 1) == []
    table.add(pending(client_id=4))  # the second makes room
    assert table.of_request(first.th1) is None
    assert len(table) == 1
    table.expire(LIFE + 2)
    assert len(table) == 0


def test_the_oldest_makes_room() -> None:
    table = Transactions(urandom, total=3)
    several = [pending(client_id=n) for n in range(5)]
    for transaction in several[:3]:
        table.add(transaction)
    table.remove(several[1])
    for transaction in several[3:]:
        table.add(transaction)
    assert [table.of_request(t.th1) is not None for t in several] == [False, False, True, True, True]


def test_a_device_that_asks_without_end_leaves_no_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds one key may make a REQUEST after the other, of which four are kept."""
    monkeypatch.setattr(Queue, "PIECE", 16)
    table = Transactions(urandom)
    others = [pending(client_id=number) for number in range(40)]
    for number in range(5_000):
        table.add(pending(bytes(16), client_id=1_000 + number))
        if number % 100 == 0 and number < 4_000:
            table.add(others[number // 100])
        assert len(table._by_age) <= 2 * (len(table) + 16) + 16
    assert len(table) == 44
    for other in others:
        assert same(table.of_request(other.th1), other)
    table.expire(LIFE)
    assert len(table) == len(table._by_age) == 0


def test_what_came_again_is_as_young_as_it_came() -> None:
    """Its first entry in the queue is not its end."""
    table = Transactions(urandom, total=2)
    first, other = refused(ends=1), refused(ends=2)
    table.add(first)
    table.remove(first)
    table.add(other)
    first.ends = 3
    table.add(first)
    table.expire(1.5)
    assert table.of_request(first.th1) is not None
    table.add(refused(ends=4))
    assert table.of_request(other.th1) is None
    assert table.of_request(first.th1) is not None


def test_a_request_that_comes_again_before_its_end_was_noticed_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMOVED_AT_ONCE", 0)
    table = Transactions(urandom)
    one = pending(ends=1)
    table.add(one)
    table.expire(2)
    one.ends = 5
    table.add(one)
    assert len(table) == len(table.of_device(one.device)) == len(table.of_client_id(7)) == 1


def test_the_end_of_many_is_work_for_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMOVED_AT_ONCE", 10)
    table = Transactions(urandom)
    several = [pending(client_id=n) for n in range(35)]
    for transaction in several:
        table.add(transaction)
    table.expire(LIFE - 1)
    assert len(table) == 35
    table.expire(LIFE)
    assert len(table) == 25
    assert not any(table.of_request(t.th1) for t in several), "none is returned, removed or not"
    assert not any(offered(table, n) for n in range(35))
    several[30].ends = 2 * LIFE
    table.add(several[30])
    for _ in range(4):
        table.expire(LIFE)
    assert [t.th1 for t in several if table.of_request(t.th1)] == [several[30].th1]


def test_where_there_is_none_stands_one_that_no_success_fits() -> None:
    table = Transactions(urandom)
    table.expire(1e9)
    (nobodys,) = table.of_client_id(7)
    (elsewhere,) = Transactions(urandom).of_client_id(7)
    assert (nobodys.state, len(nobodys.response)) == (State.SUPERSEDED, 72)
    assert nobodys.th3 != elsewhere.th3
    assert nobodys.success_step.prk3 != elsewhere.success_step.prk3
    assert len(table) == 0
    assert not table.of_device(nobodys.device)
    assert not table.is_reserved(7)
    assert not table.is_reserved(0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_it_is_what_a_plain_dict_would_be(seed: int) -> None:
    chance, table, plain = Random(seed), Transactions(urandom, total=12), dict[bytes, Transaction]()
    now = 0.0
    for _ in range(150):
        now += chance.random() * 20
        table.expire(now)
        plain = {th1: t for th1, t in plain.items() if t.ends > now}
        what = chance.random()
        if what < 0.7 or not plain:
            device = bytes([chance.randrange(6)]) * 16
            new = pending(device, chance.randrange(5), now + LIFE, freshness=chance.randrange(3))
            mine = [t for t in plain.values() if t.device == new.device]
            if len(mine) >= PER_DEVICE:
                del plain[min(mine, key=lambda t: t.freshness).th1]
            elif len(plain) >= 12:
                del plain[next(iter(plain))]
            table.add(new)
            plain[new.th1] = new
        else:
            chosen = chance.choice(list(plain.values()))
            if what < 0.85:
                table.remove(chosen)
                del plain[chosen.th1]
            else:
                if chosen.state == State.PENDING:
                    table.move(chosen, Event.DECLINED)
                    assert chosen.offer is not None
                    chosen.offer.imei = bytes(7)
        assert len(table) == len(plain)
        assert all(same(table.of_request(th1), t) for th1, t in plain.items())
        for n in range(6):
            mine = [t for t in plain.values() if t.device == bytes([n]) * 16]
            assert [t.th1 for t in table.of_device(bytes([n]) * 16)] == [t.th1 for t in mine]
            mine = [t for t in plain.values() if t.offer and t.offer.client_id == n]
            assert {t.th1 for t in offered(table, n)} == {t.th1 for t in mine}
            assert table.is_reserved(n) == any(t.state == State.PENDING for t in mine)


def test_a_transaction_is_small_and_nothing_to_the_garbage_collector() -> None:
    """At most 400 bytes for each of its two exchanges, and no object that a collection goes through."""
    count, chance = 10_000, Random(1)
    table = Transactions(urandom)
    gc.collect()
    tracked = len(gc.get_objects())
    tracemalloc.start()
    for _ in range(count):
        table.add(pending(client_id=chance.getrandbits(52)))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.collect()
    assert used / count <= 800
    assert (len(gc.get_objects()) - tracked) / count < 0.01
