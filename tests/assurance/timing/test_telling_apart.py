"""The statistics find a difference that was planted, and none where there is none: on made-up times."""

import random

import pytest

from tests.assurance.timing.telling_apart import BLOCK, compare, quick, share_found

COUNT = 100 * BLOCK


def times(source: random.Random, slower: float = 0, count: int = COUNT) -> list[int]:
    """Response times like real ones: 50 µs, never much less and sometimes much more; nanoseconds."""
    made = []
    for _ in range(count):
        late = source.expovariate(1 / 400_000) if source.random() < 0.1 else 0
        made.append(int(50_000 + slower + abs(source.gauss(0, 2_000)) + late))
    return made


def test_equal_classes_are_not_told_apart() -> None:
    source = random.Random(1)
    compared = [compare(times(source), times(source)) for _ in range(20)]
    assert not any(one.told_apart for one in compared)
    assert all(abs(one.difference) < one.detectable for one in compared)
    assert all(one.within(200) for one in compared)


def test_a_planted_difference_is_found_and_measured() -> None:
    source = random.Random(2)
    for planted in (200, 1_000, -1_000):
        one = compare(times(source), times(source, planted))
        assert one.told_apart
        assert abs(one.difference - planted) < 5 * one.error
        assert not one.within(abs(planted))


def test_what_is_called_detectable_is_found_nearly_always() -> None:
    source = random.Random(3)
    detectable = compare(times(source), times(source)).detectable
    runs = 40 * COUNT // 10
    least = detectable * 10**0.5  # with a tenth of the observations
    assert share_found(times(source, count=runs), times(source, least, runs), COUNT // 10) > 0.9
    assert share_found(times(source, count=runs), times(source, count=runs), COUNT // 10) == 0


def test_a_difference_in_the_slow_answers_alone_is_found_by_rank() -> None:
    source = random.Random(4)
    reference = [int(50_000 + source.random() * 10_000) for _ in range(COUNT)]
    other = [time + (5_000 if time > 57_000 else 0) for time in reference]
    one = compare(reference, other)
    assert one.difference == pytest.approx(0)
    assert one.rank > 4.5
    assert one.told_apart


def test_ties_are_no_difference() -> None:
    one = compare([7] * COUNT, [7] * COUNT)
    assert (one.difference, one.t, one.rank, one.told_apart) == (0, 0, 0, False)
    assert compare([7] * COUNT, [8] * COUNT).told_apart
    assert quick([7, 9] * COUNT) == 7
