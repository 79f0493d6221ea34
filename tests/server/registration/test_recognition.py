"""What tells the messages of a registration from others, and all of one device from those of another."""

import os
from collections.abc import Callable

import pytest

from dpe_coap.messages import Confirm, Request, Response, Success, Version, encode
from dpe_server.coap.subjects import HEAD, subject_of
from dpe_server.registration.recognition import KINDS, SUBJECTS, subject
from tests.coap import CON, POST, REGISTER, Message

HANDLE, IMEI, CLIENT_ID = bytes(range(17)), bytes(range(7)), bytes(range(7))
VERSION = Version(1, 0)


def request(identity: bytes = HANDLE, *, x25519: bool = False, firmware: str | None = None) -> bytes:
    key = os.urandom(32) if x25519 else None
    return encode(Request(identity, VERSION, os.urandom(32), x25519_key=key, firmware=firmware))


def success(client_id: bytes = CLIENT_ID, status: int = 0) -> bytes:
    return encode(Success(client_id, status, os.urandom(16)))


def name(payload: bytes) -> bytes:
    found = subject_of(bytes(Message(CON, POST, 7, b"tt", REGISTER, payload)), SUBJECTS)
    assert subject(payload) == found, "the registrar says it as fairness sees it"
    return found


OF_SERVERS = [
    encode(Response(version=VERSION, status=2, security_token=bytes(32))),
    encode(Response(version=VERSION, status=0, security_token=bytes(32), client_id=CLIENT_ID, sealed_handle=bytes(17))),
    encode(Confirm(0, bytes(16))),
]


def test_a_request_and_a_success_are_told_by_what_follows_the_first_byte() -> None:
    assert {payload[1:3] for payload in (request(), request(IMEI, x25519=True))} == {KINDS[0]}
    assert success()[1:3] == KINDS[1]
    assert all(payload[1:3] not in KINDS for payload in OF_SERVERS)


def test_all_messages_of_one_kind_about_one_device_have_one_name() -> None:
    requests = [request(), request(x25519=True), request(firmware="2.1"), request(x25519=True, firmware="2.1")]
    assert {name(payload) for payload in requests} == {requests[0][1:22]}
    imeis = [request(IMEI) for _ in range(2)]
    assert {name(payload) for payload in imeis} == {imeis[0][1:12]}
    successes = [success(status=status) for status in (0, 16)]
    assert {name(payload) for payload in successes} == {successes[0][1:12]}


@pytest.mark.parametrize(("make", "identity"), [(request, HANDLE), (request, IMEI), (success, CLIENT_ID)])
def test_names_differ_in_every_byte_of_what_names_a_device(make: Callable[[bytes], bytes], identity: bytes) -> None:
    found = {name(make(identity))}
    for at in range(len(identity)):
        other = bytearray(identity)
        other[at] ^= 1
        found.add(name(make(bytes(other))))
    assert len(found) == 1 + len(identity)


def test_a_request_and_a_success_never_share_a_name() -> None:
    assert len({name(payload) for payload in (request(), request(IMEI), success(IMEI))}) == 3


@pytest.mark.parametrize(
    "payload",
    [*OF_SERVERS, b"\xa1\x00\x01", b"\xa4\x00\x02" + request()[3:], request()[:HEAD]],
    ids=["refusal", "RESPONSE", "CONFIRM", "empty kind", "another kind", "head alone"],
)
def test_other_payloads_name_nobody(payload: bytes) -> None:
    assert name(payload) == b""
