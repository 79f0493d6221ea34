"""The numbers of batches: they rise over all nodes, and over a primary that is lost, a copy and a recovery."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from dpe_server.store.contract import RECOVERY_GAP, Outcome, Session
from dpe_server.store.postgresql import statements
from dpe_server.store.postgresql.store import PostgresqlStore
from dpe_server.store.questions import PLACE_BITS, Questions
from tests.postgresql import Cluster

Make = Callable[..., Session]
LOGGED_AT_ONCE = 32
"""Numbers that PostgreSQL makes durable together."""


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.emptied()


@pytest.fixture
def nodes(url: str) -> Iterator[list[PostgresqlStore]]:
    with closing(PostgresqlStore(url, one_machine=True)) as one, closing(PostgresqlStore(url, one_machine=True)) as two:
        yield [one, two]


def number(store: PostgresqlStore) -> int:
    return store.look(Questions(number=True)).number


def test_they_rise_over_all_nodes(nodes: list[PostgresqlStore]) -> None:
    given = [number(node) for _ in range(20) for node in nodes]
    assert given == sorted(set(given))
    assert given[0] > 0


def test_one_comes_with_the_other_answers_and_only_if_it_was_asked_for(nodes: list[PostgresqlStore]) -> None:
    before = number(nodes[0])
    device = os.urandom(16)
    facts = nodes[0].look(Questions(restrictions={device}, holders={1}, number=True))
    assert facts.number > before
    assert facts.minimum_epoch == 0
    assert nodes[0].look(Questions(restrictions={device})).number == 0


def test_a_new_connection_leaps_over_what_a_lost_primary_may_have_given_out(
    postgresql: Cluster, url: str, nodes: list[PostgresqlStore]
) -> None:
    """Of the numbers of one connection that are logged together, the next primary may have none."""
    given = [number(nodes[0]) for _ in range(3)]
    with closing(postgresql.connection(url)) as owner:
        owner.execute("SELECT setval('ordinal', %s)", (given[0] - LOGGED_AT_ONCE,))
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dpe-coap'")
    assert number(nodes[0]) > given[-1] + statements.LEAP_BY - 2 * LOGGED_AT_ONCE


@pytest.mark.parametrize("committed", [2**40, 2**61])
def test_they_go_on_after_what_was_committed_elsewhere(url: str, make: Make, committed: int) -> None:
    """A store that was copied has ordinals of one machine's clock."""
    with closing(PostgresqlStore(url, one_machine=True)) as store:
        session = make(ordinal=(number(store) << PLACE_BITS) + committed)
        assert store.commit([session]) == [Outcome.COMMITTED]
    with closing(PostgresqlStore(url, one_machine=True)) as store:
        assert number(store) << PLACE_BITS > session.ordinal
        before = number(store)
    with closing(PostgresqlStore(url, one_machine=True)) as store:
        assert before < number(store) < before + 10 * statements.LEAP_BY, "nothing was to be caught up with"


def test_a_recovery_moves_them_on(nodes: list[PostgresqlStore]) -> None:
    before = number(nodes[0])
    nodes[0].recover([], 1)
    assert number(nodes[1]) > before + RECOVERY_GAP
