"""The lane: what it takes, what it leaves to the aiocoap endpoint, and that it keeps nothing."""

import asyncio
import gc
from collections.abc import Callable, Collection, Sequence

import pytest

from dpe_coap.binding import CONTENT_FORMAT_CBOR, CONTENT_FORMAT_PROBLEM, MAX_PAYLOAD, PATH, Code
from dpe_server.coap.lane import FORMS, LONGEST_FORM, Entrance, Lane
from dpe_server.coap.options import uri_path
from dpe_server.handling.reply import UNAUTHORIZED, Reply, busy
from dpe_server.net.link import Endpoint
from dpe_server.registration.recognition import KINDS
from tests.coap import (
    ACCEPT,
    ACK,
    BLOCK1,
    CON,
    CONTENT_FORMAT,
    GET,
    MAX_AGE,
    NON,
    POST,
    REGISTER,
    URI_HOST,
    URI_PATH,
    URI_PORT,
    URI_QUERY,
    Message,
)
from tests.links import FakeLink

PAYLOAD = b"\xa5\x00\x01 as a REQUEST begins"
HOST = (URI_HOST, b"server.example")
PORT = (URI_PORT, b"\x16\x33")


class Running:
    """A lane whose batches are answered at once, by ``reply`` or with the payload reversed."""

    def __init__(self, path: Sequence[str] = PATH, kinds: Collection[bytes] = KINDS) -> None:
        self.link = FakeLink()
        self.batches: list[list[bytes]] = []
        self.others: list[tuple[bytes, Endpoint]] = []
        self.reply: Reply | None = None
        entrance = Entrance(uri_path(path), CONTENT_FORMAT_CBOR, MAX_PAYLOAD, kinds, self._take)
        self.lane = Lane(self.link, [entrance])
        self.lane.start(self._received)

    def _take(self, payloads: Sequence[bytes], deliver: Callable[[Sequence[Reply]], None]) -> None:
        self.batches.append(list(payloads))
        deliver([self.reply or Reply.cbor(Code.CHANGED, payload[::-1]) for payload in payloads])

    def _received(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        self.others += zip(datagrams, endpoints, strict=True)

    def takes(self, datagram: bytes) -> bool:
        """Send one datagram; it went one way and not the other."""
        before = len(self.batches), len(self.others)
        self.link.put(datagram)
        taken, passed = len(self.batches) - before[0], len(self.others) - before[1]
        assert taken + passed == 1
        return bool(taken)


@pytest.fixture
def running() -> Running:
    return Running()


def post(payload: bytes = PAYLOAD, options: Sequence[tuple[int, bytes]] = REGISTER, token: bytes = b"tt") -> bytes:
    return bytes(Message(CON, POST, 0x1234, token, options, payload))


PLAIN = {
    "the least": REGISTER,
    "Accept": [*REGISTER, (ACCEPT, b"\x3c")],
    "Uri-Host": [*REGISTER, HOST],
    "Uri-Port": [*REGISTER, PORT],
    "Uri-Port 0": [*REGISTER, (URI_PORT, b"")],
    "all of them": [*REGISTER, HOST, PORT, (ACCEPT, b"\x3c")],
    "a content format too many, which is elective": [*REGISTER, (CONTENT_FORMAT, b"\x32")],
    "an elective option that is not recognised": [*REGISTER, (2, b"x"), (65_000, b"")],
}


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN)
def test_it_takes_a_plain_request(running: Running, options: Sequence[tuple[int, bytes]]) -> None:
    for _ in range(2):  # new, and known
        assert running.takes(post(options=options))
        assert running.batches[-1] == [PAYLOAD]
        ((sent, endpoint),) = running.link.taken()
        answer = Message(ACK, 0x44, 0x1234, b"tt", ((CONTENT_FORMAT, b"\x3c"),), PAYLOAD[::-1])
        assert (Message.parse(sent), endpoint) == (answer, b"peer")


@pytest.mark.parametrize("length", range(9))
def test_it_takes_coap_tokens_of_all_lengths(running: Running, length: int) -> None:
    token = bytes(range(0xF7, 0xF7 + length))  # the last one is 0xFF, as the payload marker
    assert running.takes(post(token=token))
    ((sent, _),) = running.link.taken()
    assert Message.parse(sent).coap_token == token


@pytest.mark.parametrize("size", [3, 255, 256])
def test_it_takes_payloads_of_up_to_256_bytes(running: Running, size: int) -> None:
    assert running.takes(post(PAYLOAD[:3] + b"\xff" * (size - 3)))


OTHERS = {
    "nothing": b"",
    "half a header": b"\x42\x02",
    "a header": b"\x42\x02\x12\x34",
    "no payload": post(b""),
    "a marker without a payload": post(b"") + b"\xff",
    "257 bytes of payload": post(PAYLOAD[:3] + bytes(254)),
    "another payload": post(b"hello"),
    "a RESPONSE": post(b"\xa5\x00\x02"),
    "a payload cut short": post(b"\xa5\x00"),
    "NON": bytes(Message(NON, POST, 1, b"", REGISTER, PAYLOAD)),
    "an acknowledgement": bytes(Message(ACK, POST, 1, b"", REGISTER, PAYLOAD)),
    "GET": bytes(Message(CON, GET, 1, b"", REGISTER, PAYLOAD)),
    "a CoAP token of 9 bytes": b"\x49" + post(token=b"")[1:],
    "version 2": b"\x82" + post()[1:],
    "another path": post(options=[(URI_PATH, b"dpe"), (CONTENT_FORMAT, b"\x3c")]),
    "no content format": post(options=REGISTER[:2]),
    "another content format": post(options=[*REGISTER[:2], (CONTENT_FORMAT, b"\x32")]),
    "another Accept": post(options=[*REGISTER, (ACCEPT, b"\x32")]),
    "a query": post(options=[*REGISTER, (URI_QUERY, b"a")]),
    "a block": post(options=[*REGISTER, (BLOCK1, b"\x08")]),
    "a critical option that is not recognised": post(options=[*REGISTER, (13, b"")]),
    "OSCORE": post(options=[*REGISTER, (9, b"\x09\x01" + bytes(7))]),
    "a host that is empty": post(options=[*REGISTER, (URI_HOST, b"")]),
    "a host with 0xFF in it": post(options=[*REGISTER, (URI_HOST, b"a\xff\xa5\x00\x01")]),
    "a truncated option": b"\x40\x02\x12\x34\xb9dpe\xff" + PAYLOAD,
    "a reserved option": b"\x40\x02\x12\x34\xf0\xff" + PAYLOAD,
    "very long options": post(options=[*REGISTER, (2, bytes(LONGEST_FORM))]),
}


@pytest.mark.parametrize("datagram", OTHERS.values(), ids=OTHERS)
def test_it_leaves_the_rest_to_the_aiocoap_endpoint(running: Running, datagram: bytes) -> None:
    for _ in range(2):
        assert not running.takes(datagram)
        assert running.others[-1] == (datagram, b"peer")
    assert running.takes(post())
    assert not running.takes(datagram)


REPLIES = [
    Reply.cbor(Code.FORBIDDEN, b"message"),
    Reply.cbor(Code.SERVICE_UNAVAILABLE, b"message", max_age=300),
    UNAUTHORIZED,
    busy(60),
    busy(4294967295),
    Reply(Code.BAD_REQUEST, b"problem", CONTENT_FORMAT_PROBLEM),
]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply.code.dotted} {reply.max_age}")
def test_every_reply_is_a_piggybacked_response(running: Running, reply: Reply) -> None:
    running.reply = reply
    running.link.put(post())
    ((sent, _),) = running.link.taken()
    answer = Message.parse(sent)
    assert (answer.type, answer.code, answer.message_id, answer.coap_token) == (ACK, reply.code, 0x1234, b"tt")
    assert (answer.uint(CONTENT_FORMAT), answer.uint(MAX_AGE)) == (reply.content_format, reply.max_age)
    assert answer.payload == reply.payload
    assert bytes(answer) == sent  # options in their shortest form


def test_the_requests_of_a_batch_share_one_and_each_asker_gets_its_answer(running: Running) -> None:
    payloads = [PAYLOAD + bytes([number]) for number in range(20)]
    datagrams = [post(payload, token=payload[-1:]) for payload in payloads]
    datagrams[5:5] = [b"first other"]
    datagrams.append(b"second other")
    running.link.received(datagrams, [bytes([number]) for number in range(22)])
    assert running.batches == [payloads]
    assert running.others == [(b"first other", b"\x05"), (b"second other", b"\x15")]
    assert running.lane.taken == 20
    answers = {endpoint[0]: Message.parse(sent) for sent, endpoint in running.link.taken()}
    assert answers.keys() == set(range(21)) - {5}
    for number, payload in enumerate(payloads):
        answer = answers[number + (number >= 5)]
        assert (answer.coap_token, answer.payload) == (payload[-1:], payload[::-1])


def test_another_service_takes_other_payloads_at_another_path() -> None:
    running = Running(("other",), [b"\x01\x50"])
    options = [(URI_PATH, b"other"), (CONTENT_FORMAT, b"\x3c")]
    assert running.takes(post(b"\xa3\x01\x50", options))
    assert not running.takes(post(b"\xa3\x01\x50"))
    assert not running.takes(post(PAYLOAD, options))


def test_memory_of_options_is_bounded(running: Running) -> None:
    for number in range(3 * FORMS):
        assert running.takes(post(options=[*REGISTER, (URI_HOST, f"host{number}".encode())]))
        assert not running.takes(post(options=[*REGISTER, (13, str(number).encode())]))
        assert len(running.lane._forms) <= FORMS
    assert max(map(len, running.lane._forms)) <= LONGEST_FORM


def test_a_request_leaves_nothing_behind_and_no_garbage(running: Running) -> None:
    def flood(start: int) -> None:
        for number in range(start, start + 2_000):
            datagram = bytes(Message(CON, POST, number, number.to_bytes(2, "big"), REGISTER, PAYLOAD))
            running.link.received([datagram] * 3, [bytes(16)] * 3)
            running.link.taken()
            running.batches.clear()

    flood(0)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        flood(2_000)
        assert len(gc.get_objects()) - before < 20
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_stopping_closing_and_sending_are_the_link_s(running: Running) -> None:
    running.lane.send([b"datagram"], [b"peer"])
    assert running.link.taken() == [(b"datagram", b"peer")]
    running.lane.stop()
    running.link.put(post())
    assert running.batches == []
    running.lane.close()
    assert running.link.closed


def test_no_task_and_no_turn_of_the_event_loop_is_needed(running: Running) -> None:
    async def main() -> None:
        running.link.put(post())
        assert len(running.link.taken()) == 1
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
