"""The ID Manager: inside the range, unpredictable, free, at a flat cost until the range is 99.9 % full."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count
from os import urandom
from random import Random

import pytest

from dpe_server.registration.id_manager import WINDOW, WINDOWS_AT_ONCE, Drawing, probes
from dpe_server.store.questions import Facts, Questions


class Taken:
    """Client IDs in use; how often it was looked at, and how many windows and Client IDs were read."""

    def __init__(self, taken: Iterable[int] = ()) -> None:
        self._taken = sorted(taken)
        self.looks = self.windows = self.read = 0

    def look(self, questions: Questions) -> Facts:
        self.looks += 1
        facts = Facts()
        for client_id in questions.holders:
            place = bisect_left(self._taken, client_id)
            if self._taken[place : place + 1] == [client_id]:
                facts.holders[client_id] = b"somebody"
        for first, last in questions.in_use:
            assert last - first < WINDOW
            found = self._taken[bisect_left(self._taken, first) : bisect_right(self._taken, last)]
            self.windows += 1
            self.read += len(found)
            facts.in_use[first, last] = set(found)
        return facts

    def add(self, client_id: int) -> None:
        insort(self._taken, client_id)


def free(_: int) -> bool:
    return True


def draw(
    store: Taken,
    first: int,
    last: int,
    count: int = 1,
    is_free: Callable[[int], bool] = free,
    random: Callable[[int], bytes] = urandom,
) -> list[int]:
    """Draw as admission does after its first probes: look by look, until there are enough or no more."""
    drawing = Drawing(first, last, random)
    drawn: list[int] = []

    def is_free_still(client_id: int) -> bool:
        return client_id not in drawn and is_free(client_id)

    while len(drawn) < count and not drawing.exhausted:
        questions = Questions()
        drawing.ask(count - len(drawn), questions)
        drawn += drawing.take(count - len(drawn), store.look(questions), is_free_still)
    return drawn


@pytest.mark.parametrize("size", [1, 2, 100, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_every_client_id_of_a_range_is_given_once(size: int) -> None:
    first = 0x12345600000000
    store = Taken()
    given = set()
    while drawn := draw(store, first, first + size - 1):
        (client_id,) = drawn
        assert first <= client_id < first + size
        assert client_id not in given
        given.add(client_id)
        store.add(client_id)
    if size <= WINDOW:
        assert len(given) == size, "exact to the last"
    else:
        assert len(given) > 0.999 * size


def test_exhausted_range_has_no_client_id() -> None:
    assert draw(Taken(range(10)), 0, 9) == []
    assert draw(Taken(range(10_000)), 0, 9_999) == []


def test_it_gives_up_after_some_probes_and_64_windows() -> None:
    store = Taken(range(100 * 1_024))
    assert draw(store, 0, 100 * 1_024 - 1) == []
    assert store.looks == 1 + 3 + 8, "probes; windows by 1, 2, 4, and then 8 at a time"
    assert 48 <= store.windows <= 71, "some of the 71 drawn are drawn twice in a look"
    assert store.read == 1_024 * store.windows
    for first in (0, 2**40):
        store = Taken(range(first, first + 1_024))
        assert draw(store, first, first + 1_023) == []
        assert (store.looks, store.read) == (1, 1_024), "a range of one window is read once"


class Barren(Taken):
    """Where no probe finds anything, and in ``fertile`` of the windows that are read first one Client ID each.

    Of the windows of one look, the lowest are read first.
    """

    def __init__(self, fertile: int) -> None:
        super().__init__()
        self.fertile = fertile

    def look(self, questions: Questions) -> Facts:
        facts = Facts(holders=dict.fromkeys(questions.holders, b"somebody"))
        for first, last in sorted(questions.in_use):
            self.windows += 1
            facts.in_use[first, last] = set(range(first + (self.windows <= self.fertile), last + 1))
        return facts


def test_it_goes_on_while_windows_have_something() -> None:
    store = Barren(fertile=100)
    first = 2**40
    assert len(draw(store, first, first + 2**50, 100)) == 100
    assert 100 <= store.windows < 100 + WINDOWS_AT_ONCE
    store = Barren(fertile=1)
    assert len(draw(store, first, first + 2**50, 2)) == 1
    assert 1 + 64 <= store.windows < 1 + 64 + WINDOWS_AT_ONCE, "64 in a row without"


@pytest.mark.parametrize(("fertile", "windows"), [(0, 71), (7, 71), (8, 79)])
def test_64_windows_in_a_row_without_a_free_one_are_the_end(fertile: int, windows: int) -> None:
    """They are read 1, 2, 4, and then 8 at a time: when 71 are read, of which 7 had something, 64 had nothing."""
    numbers = count(1)

    def random(size: int) -> bytes:
        return b"".join(next(numbers).to_bytes(16, "big") for _ in range(size // 16))

    store = Barren(fertile)
    assert len(draw(store, 0, 2**50, fertile + 1, random=random)) == fertile
    assert store.windows == windows


def test_a_range_wider_than_a_window_is_probed_first() -> None:
    narrow, wide, widest = Questions(), Questions(), Questions()
    Drawing(0, WINDOW - 1, urandom).ask(3, narrow)
    assert (narrow.holders, narrow.in_use) == (set(), {(0, WINDOW - 1)})
    Drawing(0, WINDOW, urandom).ask(3, wide)
    assert wide.holders <= set(range(WINDOW + 1))
    assert wide.in_use == set()
    Drawing(0, 2**56 - 1, urandom).ask(3, widest)
    assert len(widest.holders) == 4 * 3, "four for each"


def test_a_range_is_exhausted_only_when_there_are_too_few() -> None:
    for wanted, exhausted in ((9, False), (10, False), (11, True)):
        drawing, questions = Drawing(0, 9, urandom), Questions()
        drawing.ask(wanted, questions)
        assert len(drawing.take(wanted, Taken().look(questions), free)) == min(wanted, 10)
        assert drawing.exhausted is exhausted


def test_reserved_client_ids_are_not_given() -> None:
    store = Taken([3])
    assert {draw(store, 0, 9, 1, lambda n: n in (3, 7))[0] for _ in range(50)} == {7}
    assert draw(store, 0, 9, 1, lambda _: False) == []


@pytest.mark.parametrize("occupied", [0.0, 0.5, 0.9, 0.99, 0.999])
def test_flat_cost(occupied: float) -> None:
    """The work of a draw, in look-ups and Client IDs read, is bounded however full the range is."""
    size, rounds = 200_000, 300
    taken = set(Random(1).sample(range(size), int(occupied * size)))
    store = Taken(taken)
    for _ in range(rounds):
        (client_id,) = draw(store, 0, size - 1)
        assert client_id not in taken
    assert store.looks / rounds <= 3, "one of probes and, on average, at most 1.6 of windows"
    assert store.read / rounds <= 4 * WINDOW


def test_the_whole_space() -> None:
    values = probes([(0, 2**56 - 1)] * 200, urandom)
    assert len(set(values)) == 200
    assert sum(n >= 2**55 for n in values) in range(60, 141), "both halves: this fails once in 10**8 runs"


def test_each_range_is_probed_inside() -> None:
    ranges = [(0, 0), (7, 7), (5, 9), (2**55, 2**56 - 1)] * 50
    assert all(first <= n <= last for (first, last), n in zip(ranges, probes(ranges, urandom), strict=True))
    assert set(probes([(5, 9)] * 400, urandom)) == {5, 6, 7, 8, 9}
    assert probes([], urandom) == []


def test_unpredictable() -> None:
    """Every free Client ID of a small range comes up about as often as the others."""
    store = Taken({2, 5})
    counts = Counter(draw(store, 0, 9)[0] for _ in range(8_000))
    assert set(counts) == {0, 1, 3, 4, 6, 7, 8, 9}
    assert all(800 < count < 1_200 for count in counts.values()), "six standard deviations around 1,000"


def test_only_the_random_bytes_decide() -> None:
    """They are asked for once, and are numbers of 16 bytes, one after the other."""
    asked = []

    def random(size: int) -> bytes:
        asked.append(size)
        return (3).to_bytes(16, "big") + (10_005).to_bytes(16, "big")

    assert probes([(100, 200), (100, 10_099)], random) == [103, 105]
    assert asked == [32]


@pytest.mark.parametrize("size", [100, WINDOW, WINDOW + 1, 1_000_000])
def test_a_batch_gets_different_client_ids_as_long_as_there_are_any(size: int) -> None:
    drawn = draw(Taken(range(0, size, 2)), 0, size - 1, 256)
    assert len(drawn) == len(set(drawn)) == min(256, size // 2)
    assert all(n % 2 for n in drawn)
    assert all(0 <= n < size for n in drawn)


def test_a_batch_in_a_sparse_range_is_one_look_at_the_store() -> None:
    store = Taken()
    assert len(draw(store, 0, 2**52 - 1, 256)) == 256
    assert store.looks == 1


def test_probes_do_not_give_what_is_reserved() -> None:
    assert all(n % 2 for n in draw(Taken(), 0, 2**50, 64, lambda n: n % 2 == 1))
