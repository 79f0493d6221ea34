"""The ID Manager: inside the range, unpredictable, free, at a flat cost until the range is 99.9 % full."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from os import urandom
from random import Random

import pytest

from dpe_server.registration.id_manager import WINDOW, IdManager


class Ledger:
    """Client IDs in use, and how many of them were read."""

    def __init__(self, taken: Iterable[int] = ()) -> None:
        self._taken = sorted(taken)
        self.calls = self.read = 0

    def held(self, client_ids: Collection[int]) -> set[int]:
        self.calls += 1
        places = {n: bisect_left(self._taken, n) for n in client_ids}
        return {n for n, place in places.items() if self._taken[place : place + 1] == [n]}

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


def draw(manager: IdManager, first: int, last: int, is_reserved: Callable[[int], bool] = free) -> int | None:
    """Draw one Client ID."""
    return next(iter(manager.draw(first, last, 1, is_reserved)), None)


@pytest.mark.parametrize("size", [1, 2, 100, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_every_client_id_of_a_range_is_given_once(size: int) -> None:
    first = 0x12345600000000
    ledger = Ledger()
    manager = IdManager(ledger, urandom)
    given = set()
    while (client_id := draw(manager, first, first + size - 1)) is not None:
        assert first <= client_id < first + size
        assert client_id not in given
        given.add(client_id)
        ledger.add(client_id)
    if size <= WINDOW:
        assert len(given) == size, "exact to the last"
    else:
        assert len(given) > 0.999 * size


def test_exhausted_range_has_no_client_id() -> None:
    assert draw(IdManager(Ledger(range(10)), urandom), 0, 9) is None
    assert draw(IdManager(Ledger(range(10_000)), urandom), 0, 9_999) is None


def test_it_gives_up_after_four_probes_and_64_windows() -> None:
    ledger = Ledger(range(10 * 1_024))
    assert draw(IdManager(ledger, urandom), 0, 10 * 1_024 - 1) is None
    assert (ledger.calls, ledger.read) == (4 + 64, 64 * 1_024)
    ledger = Ledger(range(1_025))
    assert draw(IdManager(ledger, urandom), 0, 1_024) is None
    assert ledger.calls == 4 + 64
    for first in (0, 2**40):
        ledger = Ledger(range(first, first + 1_024))
        assert draw(IdManager(ledger, urandom), first, first + 1_023) is None
        assert (ledger.calls, ledger.read) == (1, 1_024), "a range of one window is read once"


class Barren:
    """Where no probe finds anything, and in ``fertile`` of the windows that are read first one Client ID each."""

    def __init__(self, fertile: int) -> None:
        self.fertile = fertile
        self.windows = 0

    def held(self, client_ids: Collection[int]) -> set[int]:
        return set(client_ids)

    def taken(self, first: int, last: int) -> set[int]:
        self.windows += 1
        return set(range(first + (self.windows <= self.fertile), last + 1))


def test_it_goes_on_while_windows_have_something() -> None:
    ledger = Barren(fertile=100)
    first = 2**40
    assert len(IdManager(ledger, urandom).draw(first, first + 2**50, 100, free)) == 100
    assert ledger.windows == 100
    ledger = Barren(fertile=1)
    assert len(IdManager(ledger, urandom).draw(first, first + 2**50, 2, free)) == 1
    assert ledger.windows == 1 + 64, "64 in a row without"


def test_reserved_client_ids_are_not_given() -> None:
    manager = IdManager(Ledger([3]), urandom)
    assert {draw(manager, 0, 9, lambda n: n not in (3, 7)) for _ in range(50)} == {7}
    assert draw(manager, 0, 9, lambda _: True) is None


@pytest.mark.parametrize("occupied", [0.0, 0.5, 0.9, 0.99, 0.999])
def test_flat_cost(occupied: float) -> None:
    """The work of a draw, in look-ups and Client IDs read, is bounded however full the range is."""
    size, rounds = 200_000, 300
    taken = set(Random(1).sample(range(size), int(occupied * size)))
    ledger = Ledger(taken)
    manager = IdManager(ledger, urandom)
    for _ in range(rounds):
        client_id = draw(manager, 0, size - 1)
        assert client_id is not None
        assert client_id not in taken
    assert ledger.calls / rounds <= 7, "4 probes and, on average, at most 1.6 windows"
    assert ledger.read / rounds <= 3 * WINDOW


def test_the_whole_space() -> None:
    manager = IdManager(Ledger(), urandom)
    drawn = [draw(manager, 0, 2**56 - 1) for _ in range(200)]
    values = [n for n in drawn if n is not None]
    assert len(set(values)) == 200
    assert sum(n >= 2**55 for n in values) in range(60, 141), "both halves: this fails once in 10**8 runs"


def test_unpredictable() -> None:
    """Every free Client ID of a small range comes up about as often as the others."""
    manager = IdManager(Ledger({2, 5}), urandom)
    counts = Counter(draw(manager, 0, 9) for _ in range(8_000))
    assert set(counts) == {0, 1, 3, 4, 6, 7, 8, 9}
    assert all(800 < count < 1_200 for count in counts.values()), "six standard deviations around 1,000"


def test_only_the_random_bytes_decide() -> None:
    assert draw(IdManager(Ledger(), lambda n: bytes(n)), 100, 10_000) == 100
    assert draw(IdManager(Ledger(), lambda n: b"\x00" * (n - 1) + b"\x07"), 100, 10_000) == 107


@pytest.mark.parametrize("size", [100, WINDOW, WINDOW + 1, 1_000_000])
def test_a_batch_gets_different_client_ids_as_long_as_there_are_any(size: int) -> None:
    ledger = Ledger(range(0, size, 2))
    drawn = IdManager(ledger, urandom).draw(0, size - 1, 256, free)
    assert len(drawn) == len(set(drawn)) == min(256, size // 2)
    assert all(n % 2 for n in drawn)
    assert all(0 <= n < size for n in drawn)


def test_a_batch_in_a_sparse_range_is_one_look_at_the_store() -> None:
    ledger = Ledger()
    assert len(IdManager(ledger, urandom).draw(0, 2**52 - 1, 256, free)) == 256
    assert ledger.calls == 1


def test_what_the_first_probes_have_found_stays() -> None:
    """And the random bytes are numbers of 16, one after the other."""
    drawn = iter([(3).to_bytes(16, "big") + (5).to_bytes(16, "big"), (9_999).to_bytes(16, "big")])
    assert IdManager(Ledger([103]), lambda size: next(drawn)).draw(100, 100 + 9_999, 2, free) == [105, 10_099]


def test_probes_do_not_give_what_is_reserved() -> None:
    manager = IdManager(Ledger(), urandom)
    assert all(n % 2 for n in manager.draw(0, 2**50, 64, lambda n: n % 2 == 0))
