"""Whom a datagram names, and whether it is the first to do so."""

import os

import pytest

from dpe_coap.messages import Request, Success, Version, encode
from dpe_server.coap import subjects
from dpe_server.coap.subjects import Subjects, name_of
from tests.coap import CON, DISCOVERY, GET, NON, POST, REGISTER, URI_HOST, Message

HANDLE, IMEI, CLIENT_ID = bytes(range(17)), bytes(range(7)), bytes(range(7))
NOW = 1000.0


def request(identity: bytes = HANDLE, *, x25519: bool = False, firmware: str | None = None) -> bytes:
    key = os.urandom(32) if x25519 else None
    return encode(Request(identity, Version(1, 0), os.urandom(32), key, firmware))


def success(client_id: bytes = CLIENT_ID, status: int = 0) -> bytes:
    return encode(Success(client_id, status, os.urandom(16)))


def post(payload: bytes, coap_token: bytes = b"tt", kind: int = CON, code: int = POST) -> bytes:
    return bytes(Message(kind, code, 7, coap_token, REGISTER, payload))


@pytest.mark.parametrize("length", range(9))
def test_all_messages_of_one_kind_about_one_device_have_one_name(length: int) -> None:
    coap_token = b"\xff" * length
    requests = [request(), request(x25519=True), request(firmware="2.1"), request(x25519=True, firmware="2.1")]
    assert len({name_of(post(payload, coap_token)) for payload in requests}) == 1
    assert len({name_of(post(request(IMEI), coap_token)) for _ in range(2)}) == 1
    assert len({name_of(post(success(status=status), coap_token)) for status in (0, 16)}) == 1


def test_names_differ_in_every_byte_of_what_names_a_device() -> None:
    found = {name_of(post(payload)) for payload in (request(), request(IMEI), success())}
    for make, identity in ((request, HANDLE), (request, IMEI), (success, CLIENT_ID)):
        for at in range(len(identity)):
            other = bytearray(identity)
            other[at] ^= 1
            found.add(name_of(post(make(bytes(other)))))
    assert len(found) == 3 + len(HANDLE) + len(IMEI) + len(CLIENT_ID)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x42",
        post(b""),
        post(request()[:1]),
        post(request()[:4]),
        post(request(), kind=NON),
        post(request(), code=GET),
        post(b"\xa1\x00\x01"),
        post(b"\xa4\x00\x02" + request()[3:]),
        bytes(Message(CON, GET, 7, b"tt", DISCOVERY)),
        bytes(Message(CON, POST, 7, b"tt", [(URI_HOST, b"\xff"), *REGISTER], request())),
    ],
)
def test_others_name_nobody_and_are_always_new(datagram: bytes) -> None:
    assert name_of(datagram) == b""
    seen = Subjects()
    seen.set_time(NOW)
    assert all(seen.is_new(datagram) for _ in range(2))


def test_a_name_is_new_once_a_second() -> None:
    seen = Subjects()
    for tick in (0.0, 1.0, 2.0, 3600.0):
        for later in (0.0, 0.5, 0.9):
            seen.set_time(NOW + tick + later)
            assert seen.is_new(post(request())) is (later == 0.0)
            assert seen.is_new(post(success())) is (later == 0.0)
            assert seen.is_new(post(request(os.urandom(17))))


def test_the_first_second_of_a_clock_is_one_like_any_other() -> None:
    seen = Subjects()
    seen.set_time(0.0)
    assert seen.is_new(post(request()))
    assert not seen.is_new(post(request()))


def test_what_it_remembers_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (subjects.PLACES, subjects.TICK) == (1 << 20, 1.0)
    monkeypatch.setattr(subjects, "PLACES", 16)
    seen = Subjects()
    seen.set_time(NOW)
    assert sum(seen.is_new(post(request(os.urandom(17)))) for _ in range(1000)) <= 16
    assert len(seen._places) == 16
