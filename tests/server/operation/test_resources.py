"""What a server answers over CoAP, and how its sockets tell devices apart in a flood."""

import os

from dpe_coap.binding import Code
from dpe_coap.messages import Request, Success, Version, encode
from dpe_server.coap.response import CoapResponse
from dpe_server.coap.subjects import Crowds
from dpe_server.operation import resources
from dpe_server.registration.recognition import subject
from tests.coap import CON, DELETE, DISCOVERY, GET, POST, REGISTER, URI_PATH, Message
from tests.server.coap.asking import ask, dotted, reverse

FULL, OSCORE = 4, 9
SOURCE = slice(0, 1)


def test_the_server_has_the_register_resource_and_lists_nothing_else() -> None:
    router = resources.router(reverse, reverse)
    assert ask(router, POST, REGISTER, b"abc").payload == b"cba"
    assert ask(router, GET, DISCOVERY).payload == b'</dpe/register>;rt="dpe.register";if="dpe-1";ct=60'
    assert dotted(ask(router, POST, [(URI_PATH, b"dpe"), (URI_PATH, b"other")])) == "4.04"


def test_where_sessions_are_there_is_nothing_without_oscore() -> None:
    router = resources.router(reverse, reverse)
    for code in (GET, POST, DELETE):
        assert ask(router, code, [(URI_PATH, b"dpe")], b"abc") == CoapResponse(Code.UNAUTHORIZED)
    assert dotted(ask(router, POST, [(OSCORE, b"\x09\x01" + bytes(7))], b"abc")) == "2.04", "it is decided"
    assert dotted(ask(resources.router(reverse), POST, [(OSCORE, b"\x09\x01" + bytes(7))], b"abc")) == "4.02"


def test_in_a_flood_a_device_has_one_request_and_one_success_decided_now_from_wherever_they_come() -> None:
    def request(handle: bytes) -> bytes:
        return encode(Request(handle, Version(1, 0), os.urandom(32)))

    def success(client_id: bytes) -> bytes:
        return encode(Success(client_id, 0, os.urandom(16)))

    payloads = [request(bytes(17)), request(bytes(17)), success(bytes(7)), success(bytes(7))]
    datagrams = [bytes(Message(CON, POST, number, b"", REGISTER, payload)) for number, payload in enumerate(payloads)]
    endpoints = [bytes([number]) for number in range(FULL)]
    scheduler = resources.scheduler(Crowds(), FULL, SOURCE)
    now, _ = scheduler.take(datagrams, endpoints, 1000.0)
    assert now == [datagrams[0], datagrams[2]]
    later, _ = scheduler.take([], [], 1000.0)
    assert later == [datagrams[1], datagrams[3]]


def test_in_a_flood_the_handles_of_one_device_are_one_name_once_it_has_used_too_many() -> None:
    payloads = [encode(Request(bytes([number] * 17), Version(1, 0), os.urandom(32))) for number in range(FULL)]
    datagrams = [bytes(Message(CON, POST, number, b"", REGISTER, payload)) for number, payload in enumerate(payloads)]
    endpoints = [bytes([number]) for number in range(FULL)]
    crowds = Crowds()
    schedulers = [resources.scheduler(crowds, FULL, SOURCE) for _ in range(2)]
    assert schedulers[0].take(datagrams, endpoints, 1000.0)[0] == datagrams
    for payload in payloads[1:]:
        crowds.add(subject(payload), b"device")
    for scheduler in schedulers:
        now, _ = scheduler.take(datagrams, endpoints, 1001.0)
        assert now == datagrams[:2], "one of the device, and one that has another name"
