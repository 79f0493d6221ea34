"""A bounded dict loses its oldest entries, some at once."""

from collections.abc import Iterator

import pytest

from dpe_server.session.room import make_room


@pytest.mark.parametrize(("total", "gone"), [(2, 1), (3, 1), (31, 1), (32, 2), (320, 20)])
def test_the_oldest_go_when_it_is_full(total: int, gone: int) -> None:
    entries = dict.fromkeys(range(total - 1), b"")
    make_room(entries, total)
    assert len(entries) == total - 1
    entries[total] = b""
    make_room(entries, total)
    assert list(entries) == [*range(gone, total - 1), total]


def test_the_places_of_what_is_gone_are_passed_seldom() -> None:
    """Each time that it is looked for the oldest, these places are passed again."""

    class Counted(dict[int, bytes]):
        looks = 0

        def __iter__(self) -> Iterator[int]:
            Counted.looks += 1
            return super().__iter__()

    entries = Counted()
    for key in range(10_000):
        make_room(entries, 1_000)
        entries[key] = b""
    assert len(entries) <= 1_000
    assert Counted.looks <= 9_000 // 62 + 1
