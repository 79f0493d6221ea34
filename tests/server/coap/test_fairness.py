"""Who has a turn when more comes than can be decided."""

import os

import pytest

from dpe_coap.messages import Request, Version, encode
from dpe_server.coap import fairness
from dpe_server.coap.fairness import Fairness
from dpe_server.coap.subjects import Crowds
from dpe_server.registration.recognition import SUBJECTS
from tests.coap import CON, POST, REGISTER, Message

FULL = 8
NOW = 1000.0


def batch(sources: str, first: int = 0) -> tuple[list[bytes], list[bytes]]:
    """Datagrams, numbered, each from the source of one letter, at a port of its own."""
    return (
        [bytes([first + number]) for number in range(len(sources))],
        [f"{number:02d}{source}".encode() for number, source in enumerate(sources)],
    )


def request(device: int) -> bytes:
    """Return a new REQUEST of a device."""
    message = Request(device.to_bytes(17, "big"), Version(1, 0), os.urandom(32))
    return bytes(Message(CON, POST, 1, os.urandom(2), REGISTER, encode(message)))


@pytest.fixture
def fair() -> Fairness:
    return Fairness(FULL, slice(2, 3), subjects=SUBJECTS, crowds=Crowds())


def numbers(taken: tuple[object, ...]) -> list[int]:
    datagrams, endpoints = taken
    assert len(datagrams) == len(endpoints)  # type: ignore[arg-type]
    return [datagram[0] for datagram in datagrams]  # type: ignore[attr-defined]


def test_a_batch_that_is_not_full_is_taken_as_it_is(fair: Fairness) -> None:
    datagrams, endpoints = batch("aaaaaaa")
    taken = fair.take(datagrams, endpoints, NOW)
    assert taken[0] is datagrams
    assert taken[1] is endpoints


def test_of_a_full_one_each_source_gets_its_share_and_the_rest_waits_in_order(
    fair: Fairness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fairness, "SHARE", 2)
    assert numbers(fair.take(*batch("aaabaaca"), NOW)) == [0, 1, 3, 6]
    assert len(fair) == 4
    assert numbers(fair.take(*batch("d", 100), NOW)) == [2, 4, 5, 7, 100]
    assert len(fair) == 0


def test_there_is_room_for_a_full_batch_at_once(fair: Fairness) -> None:
    for first in (0, 10, 20):
        fair.take(*batch("abaaaaaa", first), NOW)
    assert len(fair) == 18
    assert len(numbers(fair.take(*batch("ab", 100), NOW))) == FULL
    assert len(numbers(fair.take([], [], NOW))) == FULL
    assert len(fair) == 4


def test_many_sources_are_all_taken_now(fair: Fairness) -> None:
    assert numbers(fair.take(*batch("abcdefgh"), NOW)) == list(range(8))
    assert len(fair) == 0


def test_a_device_has_one_a_second_from_however_many_sources(fair: Fairness) -> None:
    _, endpoints = batch("abcdefgh")
    named = [request(of) for of in (1, 2, 1, 1, 3, 2)]
    full = [*named, b"names nobody", b"nor does this"]
    assert fair.take(full, endpoints, NOW)[0] == [*(full[n] for n in (0, 1, 4)), *full[6:]]
    assert fair.take(full, endpoints, NOW + 0.9)[0] == full[6:]
    assert fair.take([], [], NOW + 0.9)[0] == [*(full[n] for n in (2, 3, 5)), *full[:5]]
    assert fair.take(full, endpoints, NOW + 1)[0] == [*(full[n] for n in (0, 1, 4)), *full[6:]]


def test_a_source_whose_datagram_must_wait_may_have_another_one_decided(fair: Fairness) -> None:
    _, endpoints = batch("aabbbbbb")
    full = [request(of) for of in (1, 2, 1, 1, 3, 4, 4, 4)]
    assert fair.take(full, endpoints, NOW)[0] == [full[0], full[4]]


def test_devices_behind_one_address_wait_in_their_order_and_nobody_is_noted(fair: Fairness) -> None:
    same = [request(1)] * FULL
    fair.take(same, batch("aaaaaaaa")[1], NOW)
    assert len(fair) == FULL
    assert fair.take(same, batch("abcdefgh")[1], NOW)[0] == same[:1]


def test_one_source_alone_is_taken_in_its_order(fair: Fairness) -> None:
    assert numbers(fair.take(*batch("aaaaaaaa"), NOW)) == []
    assert numbers(fair.take(*batch("aaaaaaaa", 10), NOW)) == []
    taken = [number for _ in range(2) for number in numbers(fair.take([], [], NOW))]
    assert taken == [*range(8), *range(10, 18)]


def test_what_waits_is_bounded_in_number_and_size(fair: Fairness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "WAITING", 7)
    for _ in range(2):
        fair.take(*batch("abaaaaaa"), NOW)
    assert len(fair) == 7
    other = Fairness(FULL, slice(2, 3), subjects=SUBJECTS, crowds=Crowds())
    _, endpoints = batch("abaaaaaa")
    other.take([bytes(fairness.LONGEST)] * 3 + [bytes(fairness.LONGEST + 1)] * 5, endpoints, NOW)
    assert len(other) == 1
