"""The ID Manager: inside the range, unpredictable, free, at a flat cost until the range is 99.9 % full."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable
from os import urandom
from random import Random

import pytest

from dpe_server.id_manager import WINDOW, IdManager


class Ledger:
    """Client IDs in use, and how many of them were read."""

    def __init__(self, taken: Iterable[int] = ()) -> None:
        self._taken = sorted(taken)
        self.calls = self.read = 0

    def taken(self, first: int, last: int) -> set[int]:
        assert last - first < WINDOW
        found = self._taken[bisect_left(self._taken, first) : bisect_right(self._taken, last)]
        self.calls += 1
        self.read += len(found)
        return set(found)

    def add(self, client_id: int) -> None:
        insort(self._taken, client_id)


def free(_: int) -> bool:
    return False


@pytest.mark.parametrize("size", [1, 2, 100, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_every_client_id_of_a_range_is_given_once(size: int) -> None:
    first = 0x12345600000000
    ledger = Ledger()
    manager = IdManager(ledger, urandom)
    given = set()
    while (client_id := manager.draw(first, first + size - 1, free)) is not None:
        assert first <= client_id < first + size
        assert client_id not in given
        given.add(client_id)
        ledger.add(client_id)
    if size <= WINDOW:
        assert len(given) == size, "exact to the last"
    else:
        assert len(given) > 0.999 * size


def test_exhausted_range_has_no_client_id() -> None:
    assert IdManager(Ledger(range(10)), urandom).draw(0, 9, free) is None
    assert IdManager(Ledger(range(10_000)), urandom).draw(0, 9_999, free) is None


def test_reserved_client_ids_are_not_given() -> None:
    manager = IdManager(Ledger([3]), urandom)
    assert {manager.draw(0, 9, lambda n: n not in (3, 7)) for _ in range(50)} == {7}
    assert manager.draw(0, 9, lambda _: True) is None


@pytest.mark.parametrize("occupied", [0.0, 0.5, 0.9, 0.99, 0.999])
def test_flat_cost(occupied: float) -> None:
    """The work of a draw, in look-ups and Client IDs read, is bounded however full the range is."""
    size, rounds = 200_000, 300
    taken = set(Random(1).sample(range(size), int(occupied * size)))
    ledger = Ledger(taken)
    manager = IdManager(ledger, urandom)
    for _ in range(rounds):
        client_id = manager.draw(0, size - 1, free)
        assert client_id is not None
        assert client_id not in taken
    assert ledger.calls / rounds <= 7, "4 probes and, on average, at most 1.6 windows"
    assert ledger.read / rounds <= 3 * WINDOW


def test_the_whole_space() -> None:
    manager = IdManager(Ledger(), urandom)
    drawn = [manager.draw(0, 2**56 - 1, free) for _ in range(200)]
    values = [n for n in drawn if n is not None]
    assert len(set(values)) == 200
    assert sum(n >= 2**55 for n in values) in range(60, 141), "both halves: this fails once in 10**8 runs"


def test_unpredictable() -> None:
    """Every free Client ID of a small range comes up about as often as the others."""
    manager = IdManager(Ledger({2, 5}), urandom)
    counts = Counter(manager.draw(0, 9, free) for _ in range(8_000))
    assert set(counts) == {0, 1, 3, 4, 6, 7, 8, 9}
    assert all(800 < count < 1_200 for count in counts.values()), "six standard deviations around 1,000"


def test_only_the_random_bytes_decide() -> None:
    assert IdManager(Ledger(), lambda n: bytes(n)).draw(100, 10_000, free) == 100
    assert IdManager(Ledger(), lambda n: b"\x00" * (n - 1) + b"\x07").draw(100, 10_000, free) == 107
