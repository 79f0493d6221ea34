"""Whom a datagram names, and whether it is the first to do so."""

import os

import pytest

from dpe_server.coap import subjects
from dpe_server.coap.subjects import Crowds, Subjects, subject_of
from tests.coap import CON, DISCOVERY, GET, NON, POST, REGISTER, URI_HOST, Message

SIZES = {b"cat:": 8, b"dog:": 6}
NOW = 1000.0


def post(payload: bytes, coap_token: bytes = b"tt", kind: int = CON, code: int = POST) -> bytes:
    return bytes(Message(kind, code, 7, coap_token, REGISTER, payload))


@pytest.mark.parametrize("length", range(9))
def test_a_name_is_as_long_as_the_table_says_and_stands_behind_one_byte(length: int) -> None:
    coap_token = b"\xff" * length
    assert subject_of(post(b"\xa5cat:Minka and more", coap_token), SIZES) == b"cat:Mink"
    assert subject_of(post(b"\xffcat:Tom", coap_token), SIZES) == b"cat:Tom"
    assert subject_of(post(b"?dog:Rex", coap_token), SIZES) == b"dog:Re"


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x42",
        post(b""),
        post(b"?"),
        post(b"?cat"),
        post(b"cat:Minka"),
        post(b"?cow:Elsa"),
        post(b"?cat:Minka", kind=NON),
        post(b"?cat:Minka", code=GET),
        bytes(Message(CON, GET, 7, b"tt", DISCOVERY)),
        bytes(Message(CON, POST, 7, b"tt", [(URI_HOST, b"\xff"), *REGISTER], b"?cat:Minka")),
    ],
)
def test_others_name_nobody_and_are_always_new(datagram: bytes) -> None:
    assert subject_of(datagram, SIZES) == b""
    seen = Subjects(SIZES, Crowds())
    seen.set_time(NOW)
    assert all(seen.is_new(datagram) for _ in range(2))


def test_without_names_everything_is_new() -> None:
    seen = Subjects({}, Crowds())
    seen.set_time(NOW)
    assert all(seen.is_new(post(b"?cat:Minka")) for _ in range(2))


def test_a_name_is_new_once_a_second() -> None:
    seen = Subjects(SIZES, Crowds())
    for tick in (0.0, 1.0, 2.0, 3600.0):
        for later in (0.0, 0.5, 0.9):
            seen.set_time(NOW + tick + later)
            assert seen.is_new(post(b"?cat:Minka")) is (later == 0.0)
            assert seen.is_new(post(b"?dog:Rex")) is (later == 0.0)
            assert seen.is_new(post(b"?cat:" + os.urandom(4)))


def test_the_first_second_of_a_clock_is_one_like_any_other() -> None:
    seen = Subjects(SIZES, Crowds())
    seen.set_time(0.0)
    assert seen.is_new(post(b"?cat:Minka"))
    assert not seen.is_new(post(b"?cat:Minka"))


def test_what_it_remembers_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (subjects.PLACES, subjects.TICK) == (1 << 20, 1.0)
    monkeypatch.setattr(subjects, "PLACES", 16)
    seen = Subjects(SIZES, Crowds())
    seen.set_time(NOW)
    assert sum(seen.is_new(post(b"?cat:" + os.urandom(4))) for _ in range(1000)) <= 16
    assert len(seen._places) == 16


def test_names_in_a_crowd_are_one_name_and_others_are_not() -> None:
    crowds = Crowds()
    seen, beside = Subjects(SIZES, crowds), Subjects(SIZES, crowds)
    for name in (b"cat:Mink", b"cat:Tiger", b"dog:Re"):
        crowds.add(name[:8], b"one owner")
    for tick in range(3):
        seen.set_time(NOW + tick)
        beside.set_time(NOW + tick)
        assert [seen.is_new(post(b"?" + name)) for name in (b"cat:Mink", b"cat:Tige", b"dog:Re")] == [
            True,
            False,
            False,
        ]
        assert seen.is_new(post(b"?cat:Tom "))
        assert beside.is_new(post(b"?cat:Mink")), "each socket has turns of its own"


def test_a_crowd_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert subjects.MOST_CROWDED == 65_536
    monkeypatch.setattr(subjects, "MOST_CROWDED", 10)
    crowds = Crowds()
    for number in range(25):
        crowds.add(bytes([number]), b"owner")
        assert len(crowds.common) <= 10
    assert crowds.common[bytes([24])] == b"owner"
