"""The containers of the table of transactions: what goes in comes out, in its order, whatever their number."""

from collections import Counter
from itertools import pairwise
from os import urandom

import pytest

from dpe_server.registration.containers import SIZE_TH1, Map, MultiMap, Queue, Recent


def test_a_map_has_each_key_in_one_of_256_parts() -> None:
    made = Map[bytes]()
    keys = [urandom(16) for _ in range(10_000)]
    for key in keys:
        made.part(key)[key] = key[:4]
    assert all(made.part(key)[key] == key[:4] for key in keys)
    parts = {id(made.part(key)): len(made.part(key)) for key in keys}
    assert len(parts) == 256
    assert sum(parts.values()) == 10_000
    assert max(parts.values()) < 100, "39 on average: this fails once in 10**12 runs"


def test_what_was_used_last_is_remembered_and_the_rest_is_bounded() -> None:
    recent, keys = Recent(51_200), [urandom(16) for _ in range(100_000)]
    for number, key in enumerate(keys):
        recent.add(key, bytearray(key[:4]))
        found = recent.get(keys[0])
        assert found is not None
        assert number == 0 or found == (number - 1).to_bytes(4, "big")
        found[:] = number.to_bytes(4, "big")
    assert 25_600 <= len(recent) <= 51_200
    assert all(recent.get(key) == bytearray(key[:4]) for key in keys[-10_000:])
    assert sum(recent.get(key) is not None for key in keys) >= 25_600
    assert recent.get(b"no key") is None


@pytest.mark.parametrize("total", [1, 1_023])
def test_the_smallest_has_one_of_each_generation_in_each_of_256_parts(total: int) -> None:
    recent = Recent(total)
    assert len(recent._young) == len(recent._old) == 256
    for key in [urandom(16) for _ in range(1_000)]:
        assert not any(recent._young), "one is enough to make it the old generation"
        recent.add(key, bytearray(b"value"))
        assert recent.get(key) == recent.get(key) == bytearray(b"value")


def test_an_index_keeps_the_order_in_which_they_came() -> None:
    index = MultiMap[int]()
    th1s = [urandom(SIZE_TH1) for _ in range(5)]
    assert index.get(7) == []
    assert [index.add(7, th1) for th1 in th1s] == [1, 2, 3, 4, 5]
    assert index.add(8, th1s[0]) == 1
    assert index.get(7) == th1s
    index.discard(7, th1s[2])
    assert index.get(7) == [*th1s[:2], *th1s[3:]]
    for th1 in (th1s[0], th1s[4], th1s[1]):
        index.discard(7, th1)
    assert index.get(7) == [th1s[3]]
    index.discard(7, th1s[3])
    assert (index.get(7), index.get(8)) == ([], [th1s[0]])
    assert 7 not in index.part(7), "nothing is left behind"


def test_a_queue_of_many_is_first_in_first_out() -> None:
    """Over several of its pieces, and while it is filled and emptied at once."""
    queue = Queue(lambda th1, time: True)
    assert queue.first() is None
    entries = [(urandom(SIZE_TH1), n / 8) for n in range(10_000)]
    for entry in entries[:9_000]:
        queue.append(*entry)
    for n, entry in enumerate(entries):
        assert queue.first() == entry
        assert queue.first() == entry, "to look does not take it"
        queue.pop()
        if n < 1_000:
            queue.append(*entries[9_000 + n])
    assert queue.first() is None
    queue.append(*entries[0])
    assert queue.first() == entries[0]


def test_a_queue_gives_back_what_it_took() -> None:
    queue = Queue(lambda th1, time: True)
    for n in range(3 * 4_096):
        queue.append(urandom(SIZE_TH1), n)
    assert [len(piece) for piece in queue._pieces] == [4_096 * 40] * 3
    for _ in range(4_096):
        queue.pop()
    assert [len(piece) for piece in queue._pieces] == [4_096 * 40] * 2
    for _ in range(2 * 4_096):
        queue.pop()
    assert [len(piece) for piece in queue._pieces] == [0]


def test_a_queue_says_when_a_piece_is_full() -> None:
    queue = Queue(lambda th1, time: True)
    said = [queue.append(bytes(SIZE_TH1), n) for n in range(2 * Queue.PIECE)]
    assert [n for n, full in enumerate(said) if full] == [Queue.PIECE - 1, 2 * Queue.PIECE - 1]


def times(queue: Queue) -> list[float]:
    """Empty the queue."""
    found = []
    while (entry := queue.first()) is not None:
        found.append(entry[1])
        queue.pop()
    return found


def test_a_queue_is_sifted_two_pieces_at_a_time_from_the_first_to_the_last_and_again() -> None:
    piece = Queue.PIECE
    stale = {0}  # modulo 4
    queue = Queue(lambda th1, time: time % 4 not in stale)
    for n in range(5 * piece):
        queue.append(bytes(SIZE_TH1), n)
    lengths = [len(queue)]
    for step in range(6):
        stale |= {1} if step == 3 else set()
        queue.sift()
        lengths.append(len(queue))
    gone = [before - after for before, after in pairwise(lengths)]
    assert gone == [n * piece // 4 for n in (2, 2, 1, 2, 2, 1)], "the third begins again, where nothing is stale yet"
    assert times(queue) == [n for n in range(5 * piece) if n % 4 > 1]


def test_a_piece_in_which_nothing_holds_is_forgotten() -> None:
    piece = Queue.PIECE
    for pieces in (2, 3):
        last = (pieces - 1) * piece
        queue = Queue(lambda th1, time, last=last: time >= last)  # type: ignore[misc]
        for n in range(pieces * piece):
            queue.append(bytes(SIZE_TH1), n)
        queue.sift()
        assert queue.first() == (bytes(SIZE_TH1), float(last))
        assert len(queue) == piece
    queue = Queue(lambda th1, time: False)
    queue.append(bytes(SIZE_TH1), 1)
    queue.sift()
    assert (len(queue), queue.first()) == (0, None)
    queue.append(bytes(SIZE_TH1), 2)
    assert times(queue) == [2]


def test_keys_of_a_dict_s_part_differ_in_their_lowest_bits() -> None:
    """Else the dict, which goes by them, would find many keys in one place."""
    made = Map[bytes]()
    lowest = Counter[int]()
    chosen = made.part(b"chosen" * 3)
    for n in range(20_000):
        key = n.to_bytes(16, "big")
        if made.part(key) is chosen:
            lowest[hash(key) & 7] += 1
    assert set(lowest) == set(range(8))
