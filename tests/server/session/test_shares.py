"""A device's share of requests: a burst, then one a second, in bounded memory."""

from dpe_server.session.shares import BURST, Shares


def taken(shares: Shares, client_id: int, now: float, tries: int) -> int:
    return sum(shares.take(client_id, now) for _ in range(tries))


def test_a_burst_then_one_a_second() -> None:
    shares = Shares()
    assert taken(shares, 7, 100.0, 3 * BURST) == BURST
    assert [taken(shares, 7, 100.0 + n, 2) for n in range(1, 30)] == [1] * 29
    assert taken(shares, 7, 131.0, 5) == 2, "two seconds have passed since the last"
    assert taken(shares, 7, 131.0 + BURST, 3 * BURST) == BURST


def test_sessions_have_their_own() -> None:
    shares = Shares()
    assert taken(shares, 7, 100.0, 2 * BURST) == taken(shares, 8, 100.0, 2 * BURST) == BURST


def test_what_is_used_is_known_in_the_next_generation() -> None:
    shares = Shares()
    assert taken(shares, 1, 0.0, 1) == 1
    assert taken(shares, 7, 9.0, 2 * BURST) == BURST
    assert taken(shares, 7, 10.5, 2 * BURST) == 1
    assert taken(shares, 7, 19.9, 2 * BURST) == 9


def test_what_says_nothing_any_more_is_forgotten() -> None:
    shares = Shares()
    for client_id in range(1000):
        shares.take(client_id, 0.0)
    for now in (10.0, 20.0):
        shares.take(-1, now)
    assert len(shares._new) + len(shares._old) <= 2
    assert taken(shares, 7, 1e9, 2 * BURST) == BURST


def test_who_has_waited_has_a_burst_and_no_more() -> None:
    shares = Shares()
    assert shares.take(7, 100.0)
    assert taken(shares, 7, 109.0, 3 * BURST) == BURST
