"""Searches among sessions: they find what is wanted, in bounded steps, and can be gone on with."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from dpe_coap.messages import Version
from dpe_server.operators import searching
from dpe_server.operators.searching import AT_ONCE, LAST, of_prefix, search
from dpe_server.store.contract import Session, Store
from dpe_server.store.listing import ALL, Listed, Wanted
from dpe_server.store.sqlite.store import SqliteStore

NOW = 1_800_000_000


def session(client_id: int, **fields: object) -> Session:
    made: dict[str, object] = {
        "client_id": client_id,
        "device": os.urandom(16),
        "sealed_imei": b"sealed",
        "version": Version(1, 2),
        "firmware": None,
        "suite": 1,
        "rule": "everyone",
        "ordinal": client_id + 1,
        "established_at": NOW - 100,
        "lifetime": None,
        "expires_at": None,
        "th3": bytes(32),
        "success_hash": bytes(32),
        "confirm": b"confirm",
        "sealed_keys": b"sealed",
    }
    return Session(**{**made, **fields})  # type: ignore[arg-type]


@pytest.fixture
def fill(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    store = SqliteStore(tmp_path / "dpe.sqlite")

    def filled(*sessions: Session) -> Store:
        store.commit(list(sessions))
        return store

    yield filled
    store.close()


def client_ids(found: searching.Found) -> list[int]:
    return [one.client_id for one in found.sessions]


def test_a_search_ends_with_as_many_as_are_asked_for_and_goes_on_after_them(fill: Callable[..., Store]) -> None:
    store = fill(*(session(number) for number in range(10)))
    first = search(store, ALL, NOW, most=4)
    assert (client_ids(first), first.after) == ([0, 1, 2, 3], 3)
    second = search(store, ALL, NOW, after=3, most=6)
    assert (client_ids(second), second.after) == ([4, 5, 6, 7, 8, 9], 9)
    assert search(store, ALL, NOW, after=9, most=6) == ([], None, 0)


def test_only_live_sessions_that_fit_are_found(fill: Callable[..., Store]) -> None:
    store = fill(session(1), session(2, expires_at=NOW), session(3, rule="lab"), session(4, version=Version(2, 0)))
    assert client_ids(search(store, ALL, NOW, most=10)) == [1, 3, 4]
    assert client_ids(search(store, Wanted(rule="lab"), NOW, most=10)) == [3]
    assert client_ids(search(store, Wanted(version=Version(2, 0)), NOW, most=10)) == [4]


def test_a_search_that_finds_nothing_ends_after_some_queries_and_can_be_gone_on_with(
    fill: Callable[..., Store],
) -> None:
    count = 2 * AT_ONCE + 5
    store = fill(*(session(number) for number in range(count)), session(count, rule="rare"))
    found = search(store, Wanted(rule="rare"), NOW, most=10, rounds=2)
    assert found == ([], 2 * AT_ONCE - 1, 2 * AT_ONCE)
    found = search(store, Wanted(rule="rare"), NOW, after=2 * AT_ONCE - 1, most=10, rounds=2)
    assert (client_ids(found), found.after, found.looked_at) == ([count], None, 6)


def test_a_query_reads_no_more_than_200_rows() -> None:
    asked = []

    class Endless:
        def next_listed(self, after: int, most: int) -> list[Listed]:
            asked.append(most)
            return [Listed(after + 1 + n, bytes(16), 1, 2, None, 1, "r", None, 1, None, None, b"") for n in range(most)]

    found = search(cast(Store, Endless()), Wanted(rule="none"), NOW, most=50)
    assert asked == [200] * searching.ROUNDS
    assert (found.looked_at, found.after) == (5_000, 4_999)


@pytest.mark.parametrize(
    ("digits", "bounds"),
    [
        ("0", (-1, (1 << 52) - 1)),
        ("f", ((15 << 52) - 1, LAST)),
        ("00000000000001", (0, 1)),
        ("A0", ((160 << 48) - 1, (161 << 48) - 1)),
    ],
)
def test_the_beginning_of_a_client_id_bounds_a_search(digits: str, bounds: tuple[int, int]) -> None:
    assert of_prefix(digits) == bounds


@pytest.mark.parametrize("digits", ["", "x", "000000000000000", "-1"])
def test_what_begins_no_client_id_is_refused(digits: str) -> None:
    with pytest.raises(ValueError, match="hex digits"):
        of_prefix(digits)


def test_a_search_by_the_beginning_of_a_client_id_ends_where_that_ends(fill: Callable[..., Store]) -> None:
    store = fill(*(session(number << 48) for number in range(200)))
    after, upto = of_prefix("1")
    found = search(store, ALL, NOW, after=after, upto=upto, most=100)
    assert client_ids(found) == [number << 48 for number in range(16, 32)]
    assert found.after is None
