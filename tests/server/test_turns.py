"""Who has a turn when more comes than can be decided."""

import pytest

from dpe_server import turns
from dpe_server.turns import Turns

FULL = 8


def batch(sources: str, first: int = 0) -> tuple[list[bytes], list[bytes]]:
    """Datagrams, numbered, each from the source of one letter, at a port of its own."""
    return (
        [bytes([first + number]) for number in range(len(sources))],
        [f"{number:02d}{source}".encode() for number, source in enumerate(sources)],
    )


@pytest.fixture
def fair() -> Turns:
    return Turns(FULL, slice(2, 3))


def numbers(taken: tuple[object, ...]) -> list[int]:
    datagrams, endpoints = taken
    assert len(datagrams) == len(endpoints)  # type: ignore[arg-type]
    return [datagram[0] for datagram in datagrams]  # type: ignore[attr-defined]


def test_a_batch_that_is_not_full_is_taken_as_it_is(fair: Turns) -> None:
    datagrams, endpoints = batch("aaaaaaa")
    taken = fair.take(datagrams, endpoints)
    assert taken[0] is datagrams
    assert taken[1] is endpoints


def test_of_a_full_one_each_source_gets_its_share_and_the_rest_waits_in_order(
    fair: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SHARE", 2)
    assert numbers(fair.take(*batch("aaabaaca"))) == [0, 1, 3, 6]
    assert len(fair) == 4
    assert numbers(fair.take(*batch("d", 100))) == [2, 4, 5, 7, 100]
    assert len(fair) == 0


def test_there_is_room_for_a_full_batch_at_once(fair: Turns) -> None:
    for first in (0, 10, 20):
        fair.take(*batch("abaaaaaa", first))
    assert len(fair) == 18
    assert len(numbers(fair.take(*batch("ab", 100)))) == FULL
    assert len(numbers(fair.take([], []))) == FULL
    assert len(fair) == 4


def test_many_sources_are_all_taken_now(fair: Turns) -> None:
    assert numbers(fair.take(*batch("abcdefgh"))) == list(range(8))
    assert len(fair) == 0


def test_one_source_alone_is_taken_in_its_order(fair: Turns) -> None:
    assert numbers(fair.take(*batch("aaaaaaaa"))) == []
    assert numbers(fair.take(*batch("aaaaaaaa", 10))) == []
    taken = [number for _ in range(2) for number in numbers(fair.take([], []))]
    assert taken == [*range(8), *range(10, 18)]


def test_what_waits_is_bounded_in_number_and_size(fair: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAITING", 7)
    for _ in range(2):
        fair.take(*batch("abaaaaaa"))
    assert len(fair) == 7
    other = Turns(FULL, slice(2, 3))
    _, endpoints = batch("abaaaaaa")
    other.take([bytes(turns.LONGEST)] * 3 + [bytes(turns.LONGEST + 1)] * 5, endpoints)
    assert len(other) == 1
