"""The message layer over UDP: piggybacked and separate responses, duplicates, Resets, and what is ignored."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiocoap.numbers.constants import TransportTuning
from structlog.testing import capture_logs

from dpe_coap.binding import Code
from dpe_server.coap.aiocoap_endpoint import CoapServer
from dpe_server.handling.reply import UNAUTHORIZED, Reply
from dpe_server.net.udp import listen
from dpe_server.operation.resources import router
from tests import coap
from tests.coap import ACK, CON, GET, NON, POST, REGISTER, RST, Client, Message
from tests.serving import HAS_IPV6, LoopThread, needs_ipv6

ADDRESSES = ["127.0.0.1:0", "[::1]:0"][: 1 + HAS_IPV6]


class Running:
    """A server whose registrar is a function of the test."""

    def __init__(self, loop: LoopThread) -> None:
        self.loop = loop
        self.asked: list[bytes] = []
        self.reply: Reply | None = None
        self.decide: Callable[[bytes], Awaitable[Reply]] = self.reverse
        self.server, self.uris = loop.call(self._start)
        self.uri = self.uris[0]

    def _start(self) -> tuple[CoapServer, list[str]]:
        sockets, _ = listen(ADDRESSES)
        server = CoapServer(sockets, router(self._submit), retry_after=60)
        server.start()
        return server, [f"coap://{bound.authority}" for bound in sockets]

    async def _submit(self, payload: bytes) -> Reply:
        self.asked.append(payload)
        return await self.decide(payload)

    async def reverse(self, payload: bytes) -> Reply:
        return self.reply or Reply.cbor(Code.CHANGED, payload[::-1])

    def gate(self) -> Callable[[], None]:
        """Let decisions wait; returns what lets them go on."""
        event = asyncio.Event()

        async def wait(payload: bytes) -> Reply:
            await event.wait()
            return await self.reverse(payload)

        self.decide = wait
        return lambda: self.loop.call(event.set)

    async def stop(self) -> None:
        await self.server.stop()
        await self.server.close()


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    with LoopThread() as loop, capture_logs() as logs, caplog.at_level(logging.WARNING):
        running = Running(loop)
        yield running
        loop.run(running.stop())
    assert [log for log in logs if log["event"] != "request failed"] == []
    assert caplog.records == []


@pytest.fixture(params=[0, pytest.param(1, marks=needs_ipv6)], ids=["IPv4", "IPv6"])
def client(running: Running, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(running.uris[request.param]) as client:
        yield client


def post(payload: bytes, message_id: int, coap_token: bytes = b"t", *, kind: int = CON) -> bytes:
    return bytes(Message(kind, POST, message_id, coap_token, REGISTER, payload))


def quiet(client: Client) -> bool:
    """Nothing comes; a ping proves that what was sent before it has been seen."""
    client.send(bytes(Message(CON, 0, 0xFFFF)))
    return client.receive() == Message(RST, 0, 0xFFFF)


def test_a_confirmable_request_gets_a_piggybacked_response(running: Running, client: Client) -> None:
    client.send(post(b"abc", 0x1234, b"token"))
    assert client.receive() == Message(ACK, 0x44, 0x1234, b"token", ((12, b"\x3c"),), b"cba")


def test_a_non_confirmable_request_gets_a_non_confirmable_response(running: Running, client: Client) -> None:
    client.send(post(b"abc", 0x1234, b"token", kind=NON))
    response = client.receive()
    assert response is not None
    assert (response.type, response.code, response.coap_token, response.payload) == (NON, 0x44, b"token", b"cba")


@pytest.mark.parametrize("token", [b"", b"12345678"])
def test_coap_tokens_of_all_lengths_come_back(running: Running, client: Client, token: bytes) -> None:
    client.send(post(b"abc", 1, token))
    response = client.receive()
    assert response is not None
    assert response.coap_token == token


def test_discovery(running: Running, client: Client) -> None:
    response = client.discover()
    assert (response.dotted, response.uint(coap.CONTENT_FORMAT)) == ("2.05", 40)
    assert response.payload == b'</dpe/register>;rt="dpe.register";if="dpe-1";ct=60'


def test_a_slow_response_is_acknowledged_first_and_comes_separately(running: Running, client: Client) -> None:
    go_on = running.gate()
    client.send(post(b"abc", 0x1234, b"token"))
    assert client.receive() == Message(ACK, 0, 0x1234)
    go_on()
    response = client.receive()
    assert response is not None
    assert (response.type, response.code, response.coap_token, response.payload) == (CON, 0x44, b"token", b"cba")
    client.send(bytes(Message(ACK, 0, response.message_id)))
    client.send(post(b"abc", 0x1234, b"token"))  # a late duplicate
    assert client.receive() == Message(ACK, 0, 0x1234)
    assert quiet(client)
    assert running.asked == [b"abc"]


def test_a_separate_response_that_is_not_acknowledged_is_sent_again(
    running: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransportTuning, "ACK_TIMEOUT", 0.01)
    go_on = running.gate()
    client.send(post(b"abc", 0x1234))
    client.receive()
    go_on()
    first = client.receive()
    assert first is not None
    assert client.receive() == first
    client.send(bytes(Message(RST, 0, first.message_id)))
    client.send(bytes(Message(CON, 0, 0xFFFF)))
    while (message := client.receive()) == first:  # sent before the Reset was there
        pass
    assert message == Message(RST, 0, 0xFFFF)
    assert quiet(client)


def test_a_slow_refusal_is_not_retransmitted(running: Running, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender of a request that proves nothing may have made up its address."""
    monkeypatch.setattr(TransportTuning, "ACK_TIMEOUT", 0.01)
    go_on = running.gate()
    running.reply = UNAUTHORIZED
    client.send(post(b"abc", 0x1234, b"token"))
    assert client.receive() == Message(ACK, 0, 0x1234)
    go_on()
    response = client.receive()
    assert response is not None
    assert (response.type, response.dotted, response.coap_token) == (NON, "4.01", b"token")
    assert client.receive(timeout=0.1) is None


def test_a_slow_response_to_a_non_confirmable_request_is_non_confirmable(running: Running, client: Client) -> None:
    go_on = running.gate()
    client.send(post(b"abc", 0x1234, kind=NON))
    assert quiet(client)
    go_on()
    response = client.receive()
    assert response is not None
    assert (response.type, response.dotted) == (NON, "2.04")


def test_a_duplicate_gets_the_same_datagram_and_is_decided_once(running: Running, client: Client) -> None:
    request = post(b"abc", 7)
    client.send(request)
    first = client.receive()
    client.send(request)
    assert client.receive() == first
    assert running.asked == [b"abc"]
    assert (running.server.begun, running.server.resent) == (1, 1)


def test_a_duplicate_of_a_request_under_way_is_not_decided_again(running: Running, client: Client) -> None:
    go_on = running.gate()
    request = post(b"abc", 7)
    client.send(request)
    client.send(request)
    assert client.receive() == Message(ACK, 0, 7)
    go_on()
    response = client.receive()
    assert response is not None
    client.send(bytes(Message(ACK, 0, response.message_id)))
    assert quiet(client)
    assert running.asked == [b"abc"]
    assert (running.server.begun, running.server.resent) == (1, 1)


def test_a_duplicate_non_confirmable_request_is_ignored(running: Running, client: Client) -> None:
    request = post(b"abc", 7, kind=NON)
    client.send(request)
    assert client.receive() is not None
    client.send(request)
    assert quiet(client)
    assert running.asked == [b"abc"]


def test_a_message_id_that_comes_again_with_other_bytes_is_a_new_request(running: Running, client: Client) -> None:
    """A device that restarts and counts from the same number must not be locked out for an exchange lifetime."""
    client.send(post(b"abc", 7, b"one"))
    client.receive()
    client.send(post(b"def", 7, b"two"))
    response = client.receive()
    assert response is not None
    assert (response.coap_token, response.payload) == (b"two", b"fed")


def test_message_ids_of_different_peers_are_kept_apart(running: Running) -> None:
    with Client(running.uri) as one, Client(running.uri) as two:
        one.send(post(b"abc", 7))
        two.send(post(b"abc", 7))
        assert one.receive() == two.receive()
    assert running.asked == [b"abc", b"abc"]


def test_several_requests_of_one_peer_may_be_under_way(running: Running, client: Client) -> None:
    go_on = running.gate()
    for number in range(5):
        client.send(post(bytes([number]), number, bytes([number])))
    assert {message.message_id for _ in range(5) if (message := client.receive())} == set(range(5))
    go_on()
    payloads = set()
    for _ in range(5):  # one confirmable message at a time: NSTART is 1
        response = client.receive()
        assert response is not None
        payloads.add(response.payload)
        client.send(bytes(Message(ACK, 0, response.message_id)))
    assert payloads == {bytes([number]) for number in range(5)}


def test_a_coap_token_used_twice_at_once_is_the_peer_s_loss_alone(running: Running, client: Client) -> None:
    go_on = running.gate()
    client.send(post(b"abc", 1, b"same"))
    client.send(post(b"def", 2, b"same"))
    assert client.receive() is not None
    go_on()
    response = client.receive()
    assert response is not None
    client.send(bytes(Message(ACK, 0, response.message_id)))
    assert client.discover().dotted == "2.05"


RESET = {
    "a ping": bytes(Message(CON, 0, 0x0102)),
    "a truncated option": bytes(Message(CON, POST, 0x0102)) + b"\xb9dpe",
    "a payload marker alone": bytes(Message(CON, GET, 0x0102)) + b"\xff",
    "a confirmable response": bytes(Message(CON, 0x45, 0x0102, b"t")),
    "a reserved code class": bytes(Message(CON, 0x21, 0x0102)),
    "a CoAP token that is too long": b"\x4f\x01\x01\x02" + bytes(15),
    "an unknown critical option in a NON": bytes(Message(NON, POST, 0x0102, b"t", [*REGISTER, (13, b"")], b"x")),
}


@pytest.mark.parametrize("datagram", RESET.values(), ids=RESET)
def test_what_cannot_be_processed_gets_a_reset(running: Running, datagram: bytes) -> None:
    with Client(running.uri) as client:
        client.send(datagram)
        assert client.receive() == Message(RST, 0, 0x0102)
    assert running.asked == []


IGNORED = {
    "nothing": b"",
    "one byte": b"\x40",
    "version 0": b"\x00\x02\x01\x02",
    "version 3": b"\xc0\x02\x01\x02",
    "an ACK to nothing": bytes(Message(ACK, 0, 0x0102)),
    "a Reset to nothing": bytes(Message(RST, 0, 0x0102)),
    "a response to nothing": bytes(Message(ACK, 0x45, 0x0102, b"t", (), b"x")),
    "a NON response": bytes(Message(NON, 0x45, 0x0102, b"t", (), b"x")),
    "a request in an ACK": bytes(Message(ACK, POST, 0x0102, b"t", REGISTER, b"x")),
    "a truncated NON": bytes(Message(NON, POST, 0x0102)) + b"\xb9dpe",
}


@pytest.mark.parametrize("datagram", IGNORED.values(), ids=IGNORED)
def test_what_is_to_be_ignored_is(running: Running, datagram: bytes) -> None:
    with Client(running.uri) as client:
        client.send(datagram)
        assert quiet(client)
    assert running.asked == []


def test_a_defect_is_5_03_and_one_log_line(running: Running, client: Client) -> None:
    async def fail(payload: bytes) -> Reply:
        raise RuntimeError("secret")

    running.decide = fail
    with capture_logs() as logs:
        response = client.post(b"abc")
    assert (response.dotted, response.uint(coap.MAX_AGE), response.payload) == ("5.03", 60, b"")
    assert [(log["event"], log["error"]) for log in logs] == [("request failed", "RuntimeError")]
    assert "secret" not in str(logs)
    running.decide = running.reverse
    assert client.post(b"abc").dotted == "2.04"


def test_closing_sends_the_answers_that_are_being_made(running: Running, client: Client) -> None:
    go_on = running.gate()
    client.send(post(b"abc", 7))
    assert client.receive() == Message(ACK, 0, 7)
    closing = asyncio.run_coroutine_threadsafe(running.stop(), running.loop.loop)
    client.send(post(b"late", 8))
    go_on()
    response = client.receive()
    assert response is not None
    assert response.payload == b"cba"
    closing.result(10)
    assert running.asked == [b"abc"]
    running.server, _ = running.loop.call(running._start)  # for the fixture to stop
