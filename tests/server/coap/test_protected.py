"""Requests under OSCORE: what is handed on for a decision, and what is refused before. Lane and router agree."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from dpe_coap.binding import Code
from dpe_server.coap.datagram import CoapRequest, parse
from dpe_server.coap.lane import Lane
from dpe_server.coap.protected import MAX_CIPHERTEXT, ProtectedRequests, named
from dpe_server.coap.response import CoapResponse
from dpe_server.coap.router import Router
from dpe_server.coap.subjects import subject_of
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.net.link import Endpoint
from tests.coap import ACK, CON, GET, MAX_AGE, NON, OBSERVE, POST, PUT, URI_HOST, URI_PATH, URI_PORT, Message, Options
from tests.links import FakeLink
from tests.server.coap.asking import ask, dotted

OSCORE = 9
FETCH = 5
CLIENT_ID = b"\xff\x34\x56\x78\x9a\xbc\xff"
CIPHERTEXT = b"\xff a ciphertext \xff"


def option(partial_iv: bytes = b"\x01", flags: int = 8) -> tuple[int, bytes]:
    return OSCORE, bytes([flags | len(partial_iv)]) + partial_iv + CLIENT_ID


PLAIN = [b"\x00", b"\x01", b"\xff", b"\x01\x00", b"\xff\xff", b"\x01\x02\x03", b"\x01\x02\x03\x04", b"\xff" * 4]


class Running:
    """A lane and a router behind it. Both hand a request on, and answer with its payload reversed."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.in_lane: list[bytes] = []
        self.decided: list[bytes] = []
        self.reply: Reply | None = None
        self.lane = Lane(self.link, [], self._take)
        self.lane.start(self._received)
        self.router = Router(ProtectedRequests(self._decide))
        self.responses: list[CoapResponse] = []

    def _reply(self, payload: bytes) -> Reply:
        self.decided.append(payload)
        return self.reply or Reply(Code.CHANGED, payload[::-1], protected=True)

    def _take(self, payloads: Sequence[bytes], deliver: Callable[[Sequence[Reply]], None]) -> None:
        self.in_lane += payloads
        deliver([self._reply(payload) for payload in payloads])

    async def _decide(self, payload: bytes) -> Reply:
        return self._reply(payload)

    def _received(self, datagrams: Sequence[bytes], _endpoints: Sequence[Endpoint]) -> None:
        pass

    def takes(self, datagram: bytes) -> bool:
        before = len(self.in_lane)
        self.link.put(datagram)
        return len(self.in_lane) > before


@pytest.fixture
def running() -> Running:
    return Running()


def request(options: Options, payload: bytes = CIPHERTEXT, kind: int = CON, code: int = POST) -> bytes:
    return bytes(Message(kind, code, 0x1234, b"\xff\xff", options, payload))


@pytest.mark.parametrize("partial_iv", PLAIN, ids=bytes.hex)
def test_the_lane_takes_the_plain_request(running: Running, partial_iv: bytes) -> None:
    datagram = request([option(partial_iv)])
    assert running.takes(datagram)
    assert running.decided == [option(partial_iv)[1] + b"\xff" + CIPHERTEXT]
    ((sent, _),) = running.link.taken()
    assert Message.parse(sent) == Message(
        ACK, Code.CHANGED, 0x1234, b"\xff\xff", ((OSCORE, b""),), running.decided[0][::-1]
    )
    assert named(datagram, 6) == subject_of(datagram, {}) == CLIENT_ID
    response = ask(running.router, POST, [option(partial_iv)], CIPHERTEXT)
    assert running.decided[0] == running.decided[1], "and so does the router"
    assert (response.code, response.payload, response.protected) == (Code.CHANGED, running.decided[0][::-1], True)


NOT_PLAIN = {
    "five bytes of Partial IV": [option(b"\x01" + bytes(4))],
    "Uri-Host": [(URI_HOST, b"server.example"), option()],
    "Uri-Port": [(URI_PORT, b"\x16\x33"), option()],
    "a path, which is discarded": [option(), (URI_PATH, b"elsewhere")],
    "Observe, which is discarded": [(OBSERVE, b""), option()],
    "an elective option": [(2, b"x"), option()],
}


@pytest.mark.parametrize("options", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_others_are_decided_by_the_same_bytes(running: Running, options: Options) -> None:
    assert not running.takes(request(options))
    response = ask(running.router, POST, options, CIPHERTEXT)
    value = dict(options)[OSCORE]
    assert running.decided == [value + b"\xff" + CIPHERTEXT]
    assert (dotted(response), response.protected) == ("2.04", True)


REFUSED = {
    "an empty option": (POST, [(OSCORE, b"")], CIPHERTEXT, "4.02"),
    "no Partial IV": (POST, [(OSCORE, b"\x08" + CLIENT_ID)], CIPHERTEXT, "4.02"),
    "six bytes of Partial IV": (POST, [option(bytes([1] * 6))], CIPHERTEXT, "4.02"),
    "no kid": (POST, [(OSCORE, b"\x01\x01")], CIPHERTEXT, "4.02"),
    "a reserved flag": (POST, [option(flags=0x28)], CIPHERTEXT, "4.02"),
    "a leading zero": (POST, [option(b"\x00\x01")], CIPHERTEXT, "4.02"),
    "a kid context": (POST, [option(flags=0x18)], CIPHERTEXT, "4.01"),
    "a kid of six bytes": (POST, [(OSCORE, b"\x09\x01" + bytes(6))], CIPHERTEXT, "4.01"),
    "a kid of eight bytes": (POST, [(OSCORE, b"\x09\x01" + bytes(8))], CIPHERTEXT, "4.01"),
    "no ciphertext": (POST, [option()], b"", "4.02"),
    "a ciphertext that is too long": (POST, [option()], bytes(MAX_CIPHERTEXT + 1), "4.13"),
    "another critical option": (POST, [option(), (13, b"")], CIPHERTEXT, "4.02"),
    "the option twice": (POST, [option(), option()], CIPHERTEXT, "4.02"),
    "Proxy-Uri": (POST, [option(), (35, b"coap://other/")], CIPHERTEXT, "5.05"),
    "Proxy-Scheme": (POST, [option(), (39, b"coap")], CIPHERTEXT, "5.05"),
    "GET": (GET, [option()], CIPHERTEXT, "4.05"),
    "PUT": (PUT, [option()], CIPHERTEXT, "4.05"),
}


@pytest.mark.parametrize(("code", "options", "payload", "expected"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_a_code_and_no_more(
    running: Running, code: int, options: Options, payload: bytes, expected: str
) -> None:
    assert not running.takes(request(options, payload, code=code))
    response = ask(running.router, code, options, payload)
    assert dotted(response) == expected
    assert response == CoapResponse(response.code)
    assert not running.decided


def test_the_longest_ciphertext_passes(running: Running) -> None:
    assert running.takes(request([option()], bytes(MAX_CIPHERTEXT)))
    assert dotted(ask(running.router, POST, [option()], bytes(MAX_CIPHERTEXT))) == "2.04"


def test_an_outer_fetch_is_answered_with_content(running: Running) -> None:
    assert not running.takes(request([option()], code=FETCH))
    assert dotted(ask(running.router, FETCH, [option(), (OBSERVE, b"")], CIPHERTEXT)) == "2.05"


@pytest.mark.parametrize("reply", [UNAUTHORIZED, busy(7)])
def test_what_is_not_protected_has_no_oscore_option(running: Running, reply: Reply) -> None:
    running.reply = reply
    assert running.takes(request([option()]))
    ((sent, _),) = running.link.taken()
    age = () if reply.max_age is None else ((MAX_AGE, b"\x07"),)
    assert Message.parse(sent) == Message(ACK, reply.code, 0x1234, b"\xff\xff", age)
    assert ask(running.router, POST, [option()], CIPHERTEXT) == CoapResponse(reply.code, max_age=reply.max_age)


def test_a_non_confirmable_request_gets_no_error_that_is_not_protected(running: Running) -> None:
    parsed = parse(request([option()], kind=NON))
    assert isinstance(parsed, CoapRequest)
    assert not asyncio.run(running.router.answer(parsed, "peer")).silent
    running.reply = UNAUTHORIZED
    assert asyncio.run(running.router.answer(parsed, "peer")).silent
    refused = parse(request([option(b"\x00\x01")], kind=NON))
    assert isinstance(refused, CoapRequest)
    assert asyncio.run(running.router.answer(refused, "peer")).silent


def test_without_sessions_the_option_is_not_supported() -> None:
    assert dotted(ask(Router(), POST, [option()], CIPHERTEXT)) == "4.02"
