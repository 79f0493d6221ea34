"""Who may come in: a link is valid once and for minutes, a cookie for a while, and both are random."""

import pytest

from dpe_server.web import door as door_file
from dpe_server.web.door import IDLE_SECONDS, LINK_SECONDS, LONGEST_SECONDS, Door, Role, is_same


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(clock: Clock) -> Door:
    return Door(Role.OPERATOR, clock)


def enter(door: Door) -> str:
    entered = door.enter(door.new_link())
    assert entered is not None
    return entered[0]


def test_a_link_lets_in_once(door: Door) -> None:
    secret = door.new_link()
    entered = door.enter(secret)
    assert entered is not None
    cookie, visitor = entered
    assert door.visitor(cookie) == visitor
    assert visitor.role is Role.OPERATOR
    assert door.enter(secret) is None


def test_a_link_is_valid_for_ten_minutes(door: Door, clock: Clock) -> None:
    secret = door.new_link()
    clock.now += LINK_SECONDS - 1
    assert door.enter("x") is None  # a wrong one does not use it up
    assert door.enter(secret) is not None
    secret = door.new_link()
    clock.now += LINK_SECONDS
    assert door.enter(secret) is None


def test_a_new_link_voids_the_one_before(door: Door) -> None:
    before, after = door.new_link(), door.new_link()
    assert door.enter(before) is None
    assert door.enter(after) is not None


@pytest.mark.parametrize("secret", ["", "é", "x" * 10_000])
def test_nothing_else_lets_in(door: Door, secret: str) -> None:
    assert door.enter(secret) is None
    door.new_link()
    assert door.enter(secret) is None
    assert door.visitor(secret) is None


def test_a_visitor_who_does_nothing_is_out_after_half_an_hour(door: Door, clock: Clock) -> None:
    cookie = enter(door)
    clock.now += IDLE_SECONDS - 1
    assert door.visitor(cookie) is not None
    clock.now += IDLE_SECONDS - 1
    assert door.visitor(cookie, heard=False) is not None  # as a stream does, which is no sign of life
    clock.now += 1
    assert door.visitor(cookie) is None


def test_a_visitor_is_out_after_eight_hours_in_any_case(door: Door, clock: Clock) -> None:
    cookie = enter(door)
    for _ in range(LONGEST_SECONDS // 1_000):
        clock.now += 1_000
        assert door.visitor(cookie) is not None
    clock.now += LONGEST_SECONDS % 1_000
    assert door.visitor(cookie) is None


def test_who_leaves_is_out(door: Door) -> None:
    first, second = enter(door), enter(door)
    door.leave(first)
    door.leave("nobody")
    assert door.visitor(first) is None
    assert door.visitor(second) is not None


def test_of_too_many_the_one_goes_that_was_heard_of_longest_ago(
    door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_file, "MOST_VISITORS", 2)
    cookies = []
    for _ in range(2):
        cookies.append(enter(door))
        clock.now += 1
    door.visitor(cookies[0])
    cookies.append(enter(door))
    assert [door.visitor(cookie) is not None for cookie in cookies] == [True, False, True]


def test_no_secret_is_kept_or_shown(door: Door) -> None:
    secret = door.new_link()
    entered = door.enter(secret)
    assert entered is not None
    cookie, visitor = entered
    assert len(secret) == len(cookie) == len(visitor.form_token) == 43  # 256 bits
    assert visitor.form_token not in repr(visitor)
    kept = repr(vars(door))
    assert secret not in kept
    assert cookie not in kept


def test_an_operator_may_what_a_reader_may_and_not_the_other_way_round() -> None:
    assert Role.OPERATOR.covers(Role.READER)
    assert Role.READER.covers(Role.READER)
    assert not Role.READER.covers(Role.OPERATOR)


def test_secrets_are_compared_whatever_they_are() -> None:
    assert is_same("é", "é")
    assert not is_same("é", "e")
