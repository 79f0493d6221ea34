"""Several nodes on one database: what each of them may believe while the others write, too."""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import TypeVar

import psycopg
import pytest

from dpe_server.store.contract import (
    Beat,
    Contact,
    End,
    Outcome,
    Revoke,
    Session,
    Store,
)
from dpe_server.store.postgresql.store import PostgresqlStore
from tests.postgresql import Cluster

Make = Callable[..., Session]
_Result = TypeVar("_Result")
PATIENT = 30.0
NODES = 3


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.emptied()


@pytest.fixture
def nodes(url: str) -> Iterator[list[PostgresqlStore]]:
    with ExitStack() as opened:
        yield [opened.enter_context(closing(PostgresqlStore(url, one_machine=True))) for _ in range(NODES)]


def at_once(acts: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """Have each done in a thread, and return what they return, in order."""
    start = threading.Barrier(len(acts))
    results: dict[int, _Result] = {}
    failed: list[BaseException] = []

    def act(place: int) -> None:
        start.wait()
        try:
            results[place] = acts[place]()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=act, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    return [results[place] for place in range(len(acts))]


def test_a_report_is_accepted_by_one_of_all_nodes(nodes: list[PostgresqlStore], make: Make) -> None:
    sessions = [make(expires_at=None) for _ in range(50)]
    nodes[0].commit(sessions)

    def reports(number: int) -> list[Contact]:
        return [Contact(s.client_id, s.ordinal, number, os.urandom(16), {b"\x00": b"\x14"}, None) for s in sessions]

    for number in range(1, 6):
        given = [reports(number) for _ in nodes]
        for order in given:
            random.Random(number).shuffle(order)
        outcomes = at_once(
            [partial(node.commit, batch, patience=PATIENT) for node, batch in zip(nodes, given, strict=True)]
        )
        became_of: dict[int, list[str]] = {}
        for batch, some in zip(given, outcomes, strict=True):
            for report, outcome in zip(batch, some, strict=True):
                became_of.setdefault(report.client_id, []).append(outcome.value)
        for session in sessions:
            became = sorted(became_of[session.client_id])
            assert became == ["committed", *["not-accepted"] * (NODES - 1)]


def test_of_several_registrations_of_a_device_the_newest_stays(nodes: list[PostgresqlStore], make: Make) -> None:
    devices = [os.urandom(16) for _ in range(40)]
    batches = [[make(device=device) for device in devices] for _ in range(2 * NODES)]
    newest = {session.device: session for batch in batches for session in batch}
    for batch in batches:
        random.shuffle(batch)

    def commit(node: Store, given: Sequence[list[Session]]) -> None:
        for batch in given:
            node.commit(batch, patience=PATIENT)

    random.shuffle(batches)
    at_once([partial(commit, node, batches[n::NODES]) for n, node in enumerate(nodes)])
    assert {session.device: session for session in nodes[0].live(0)} == newest


def test_a_client_id_that_several_nodes_give_away_gets_one_device(nodes: list[PostgresqlStore], make: Make) -> None:
    client_ids = random.sample(range(2**56), 40)
    batches = [[make(client_id=client_id) for client_id in client_ids] for _ in nodes]
    outcomes = at_once(
        [partial(node.commit, batch, patience=PATIENT) for node, batch in zip(nodes, batches, strict=True)]
    )
    for place in range(len(client_ids)):
        became = sorted(outcome[place].value for outcome in outcomes)
        assert became == [*["client-id-taken"] * (NODES - 1), "committed"]
    won = {
        batch[place]
        for batch, outcome in zip(batches, outcomes, strict=True)
        for place, one in enumerate(outcome)
        if one is Outcome.COMMITTED
    }
    assert set(nodes[0].live(0)) == won


def test_no_revoked_device_has_a_session_whoever_was_first(nodes: list[PostgresqlStore], make: Make) -> None:
    devices = [os.urandom(16) for _ in range(120)]
    rounds = [[make(device=device) for device in devices] for _ in range(4)]

    def register(node: Store) -> None:
        for batch in rounds:
            for start in range(0, len(batch), 20):
                node.commit(batch[start : start + 20], patience=PATIENT)

    def revoke(node: Store) -> None:
        for device in devices:
            node.commit([Revoke(device, 1)], patience=PATIENT)

    at_once([partial(register, nodes[0]), partial(register, nodes[1]), partial(revoke, nodes[2])])
    assert list(nodes[0].live(0)) == []
    assert nodes[0].stats(0).revoked == len(devices)
    assert set(nodes[1].commit(rounds[-1])) == {Outcome.REVOKED}


def test_nobody_sees_half_a_batch(nodes: list[PostgresqlStore], make: Make) -> None:
    batches = [[make() for _ in range(40)] for _ in range(12)]
    done = threading.Event()

    def commit() -> set[int]:
        for batch in batches:
            nodes[0].commit(batch, patience=PATIENT)
        done.set()
        return set()

    def read(node: Store) -> set[int]:
        seen = set()
        while not done.is_set():
            seen.add(node.stats(0).live % 40)
        return seen

    acts: list[Callable[[], set[int]]] = [commit, partial(read, nodes[1]), partial(read, nodes[0])]
    assert set.union(*at_once(acts)) <= {0}


def test_housekeeping_leaves_to_another_node_what_it_is_at(
    nodes: list[PostgresqlStore], postgresql: Cluster, url: str, make: Make, now: int
) -> None:
    over = [make(expires_at=now - 1) for _ in range(30)]
    nodes[0].commit(over)
    with closing(psycopg.connect(url)) as other:
        other.execute("SELECT FROM device WHERE device = ANY(%b) FOR UPDATE", ([s.device for s in over[:10]],))
        assert {one.client_id for one in nodes[0].expire(now)} == {s.client_id for s in over[10:]}
        other.rollback()
        assert {one.client_id for one in nodes[1].expire(now)} == {s.client_id for s in over[:10]}
        other.execute("SELECT FROM device WHERE device = ANY(%b) FOR UPDATE", ([s.device for s in over[:10]],))
        assert nodes[0].prune(now + 1) == 20
        other.rollback()
        assert nodes[1].prune(now + 1) == 10


def test_housekeeping_of_several_nodes_takes_everything_once(
    nodes: list[PostgresqlStore], make: Make, now: int
) -> None:
    over = [make(expires_at=now - 1) for _ in range(1_200)]
    nodes[0].commit(over)

    def expire(node: Store) -> list[int]:
        return [one.client_id for _ in range(3) for one in node.expire(now)]

    def prune(node: Store) -> int:
        return sum(node.prune(now + 1) for _ in range(3))

    ended = at_once([partial(expire, node) for node in nodes])
    ended.append(expire(nodes[0]))
    assert sorted(i for some in ended for i in some) == sorted(session.client_id for session in over)
    pruned = at_once([partial(prune, node) for node in nodes])
    assert sum(pruned) + nodes[0].prune(now + 1) == len(over)


def test_what_is_imposed_on_a_device_outlives_its_trace(nodes: list[PostgresqlStore], make: Make, now: int) -> None:
    session = make()
    nodes[0].commit([session, Revoke(session.device, now), End(session.device, now)])
    assert nodes[1].prune(now + 1) == 1
    assert nodes[2].commit([session]) == [Outcome.REVOKED]
    assert list(nodes[0].measures()) == [Revoke(session.device, now)]


def test_the_beats_of_all_nodes_have_numbers_of_their_own(nodes: list[PostgresqlStore]) -> None:
    first = nodes[0].beat(None, bytes(8))

    def beat(node: Store) -> list[Beat]:
        last, beats = first, []
        for _ in range(10):
            last = node.beat(last, os.urandom(8))
            beats.append(last)
        return beats

    beats = [one for some in at_once([partial(beat, node) for node in nodes]) for one in some]
    assert sorted(one.number for one in beats) == list(range(2, 2 + 10 * NODES))


def test_the_highest_ordinal_of_all_nodes_is_known_to_each(nodes: list[PostgresqlStore], make: Make) -> None:
    batches = [[make() for _ in range(10)] for _ in range(5 * NODES)]

    def commit(n: int) -> None:
        for batch in batches[n::NODES]:
            nodes[n].commit(batch, patience=PATIENT)

    at_once([partial(commit, n) for n in range(NODES)])
    assert {node.last_ordinal() for node in nodes} == {max(s.ordinal for batch in batches for s in batch)}


def test_a_change_waits_for_those_that_may_come_before_it(nodes: list[PostgresqlStore], url: str, make: Make) -> None:
    """A transaction that began before it may still become visible, with a lower number."""
    early, late = make(expires_at=None), make(expires_at=None)
    nodes[0].commit([early, late])
    report = Contact(late.client_id, late.ordinal, 1, os.urandom(16), {b"\x00": b"\x14"}, None)
    with closing(psycopg.connect(url)) as other:
        other.execute("INSERT INTO change SELECT pg_current_xact_id()::text::int8, 1, '', substr(int8send(1), 2)")
        assert nodes[0].commit([report]) == [Outcome.COMMITTED]
        assert nodes[1].changes(0, 10) == []
        assert nodes[1].standing().newest == 0
        other.commit()
    first, second = nodes[1].changes(0, 10)
    assert first.number < second.number == nodes[2].standing().newest
    assert [list(first.ended), [found.client_id for found in second.changed]] == [[1], [late.client_id]]


def test_after_a_recovery_the_numbers_of_another_database_do_no_harm(
    nodes: list[PostgresqlStore], url: str, make: Make
) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as owner:
        owner.execute("INSERT INTO change VALUES (1::int8 << 60, 1, '', substr(int8send(1), 2))")
        owner.execute("UPDATE server SET dropped = 1::int8 << 60")
        nodes[0].recover((), 1)
        assert owner.execute("SELECT count(*) FROM change").fetchall() == [(0,)]
    assert (nodes[1].standing().newest, nodes[1].standing().dropped) == (0, 0)
    session = make(expires_at=None)
    nodes[1].commit([session, End(session.device, 1)])
    assert [list(change.ended) for change in nodes[2].changes(0, 9)] == [[session.client_id]]


def test_whoever_follows_several_nodes_misses_nothing(nodes: list[PostgresqlStore], make: Make) -> None:
    sessions = [make(expires_at=None) for _ in range(60)]
    nodes[0].commit(sessions)
    done = threading.Event()

    def report(n: int) -> dict[int, bytes]:
        for number in range(1, 12):
            mine = sessions[n::2]
            random.shuffle(mine)
            for batch in (mine[:10], mine[10:]):
                items = {b"\x00": bytes([number])}
                reports = [Contact(s.client_id, s.ordinal, number, os.urandom(16), items, None) for s in batch]
                nodes[n].commit(reports, patience=PATIENT)
        finished.append(n)
        if len(finished) == 2:
            done.set()
        return {}

    def follow() -> dict[int, bytes]:
        has: dict[int, bytes] = {}
        number = 0
        while True:
            last = done.is_set()
            found = nodes[2].changes(number, 5)
            for change in found:
                number = change.number
                has.update({one.client_id: one.record for one in change.changed})
            if last and not found:
                return has

    finished: list[int] = []
    acts: list[Callable[[], dict[int, bytes]]] = [partial(report, 0), partial(report, 1), follow]
    *_, has = at_once(acts)
    assert has == {session.client_id: session.record for session in nodes[0].live(0)}


def test_firmware_may_have_any_character(nodes: list[PostgresqlStore], make: Make) -> None:
    """It is a device's to choose, and must not keep a batch from being committed."""
    session = make(firmware="a\0b\N{GREEK SMALL LETTER MU}")
    assert nodes[0].commit([session, make()]) == [Outcome.COMMITTED] * 2
    assert nodes[1].session(session.client_id) == session
