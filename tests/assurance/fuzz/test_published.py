"""A server over UDP, and a device, live on after what has brought down others, and owe nobody anything for it."""

import logging
import os
from collections.abc import Iterator

import pytest

from dpe_coap.binding import Code
from dpe_coap.messages import Request, Response, Version, encode
from dpe_coap.numbers import MAX_SERVER_URI, Status
from dpe_server.coap.piggyback import piggybacked
from dpe_server.coap.posts import UPLOADS
from dpe_server.handling.reply import Reply
from dpe_server.operation.state_dir import StateDir
from tests.assurance.fuzz.published import (
    AMPLIFICATION,
    CLASSES,
    RESET,
    SILENCE,
    TO_DEVICE,
    TO_SERVER,
    ToDevice,
    ToServer,
)
from tests.assurance.fuzz.targets.lane import SMALL, uploads_of
from tests.coap import ACK, BLOCK1, CON, DISCOVERY, GET, NON, POST, REGISTER, RST, Client, Message
from tests.device.scripted import CHANGED, Bench, Sent, answer
from tests.end_to_end.devices import Device
from tests.end_to_end.running import POLICY, Running, running_on

MESSAGE_ID = 0x1234
REQUEST_TAG = 292
HOUR = 3_600_000


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDir:
    state = StateDir.create(tmp_path_factory.mktemp("server") / "state", "test realm", "coap://127.0.0.1")
    state.policy_path.write_text(POLICY)
    return state


@pytest.fixture(scope="module")
def running(state: StateDir) -> Iterator[Running]:
    """One server for all that comes; in the end it has logged nothing."""
    with running_on(state) as running:
        yield running
    assert running.logs == []


@pytest.fixture
def client(running: Running, caplog: pytest.LogCaptureFixture) -> Iterator[Client]:
    with caplog.at_level(logging.WARNING), Client(running.uri) as client:
        yield client
    assert caplog.records == []


def register(state: StateDir, client: Client, device: Device) -> bytes:
    """Register; return the SUCCESS."""
    request = device.request()
    offer = device.read(request, client.post(request).payload)
    success = offer.success()
    confirm, _ = offer.confirm(success, client.post(success).payload)
    assert confirm.status == Status.OK
    return success


def owes_nothing(running: Running, transactions: int) -> None:
    """No transaction of an unproved sender, no request that waits, no answer under way."""
    server = running.server
    assert len(server._registrar._transactions) == transactions
    assert len(server._batcher) == 0
    assert not server._coap._site.answering
    assert not any(interface._waiting for interface in server._coap._interfaces)


def test_every_class_has_inputs() -> None:
    """Those that need more than one datagram have a test of their own below."""
    told = {case.kind for case in (*TO_SERVER, *TO_DEVICE)}
    assert set(CLASSES) - told == {AMPLIFICATION}
    names = [(type(case), case.name) for case in (*TO_SERVER, *TO_DEVICE)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", TO_SERVER, ids=lambda case: case.name)
def test_the_server_answers_it_and_the_next(state: StateDir, running: Running, client: Client, case: ToServer) -> None:
    before = len(running.server._registrar._transactions)
    client.send(case.datagram)
    probe = Message(CON, GET, 0x2222, b"probe", DISCOVERY)
    client.send(bytes(probe))
    received: list[Message] = []
    while not received or received[-1].coap_token != b"probe":
        message = client.receive()
        assert message is not None, "the server is silent"
        received.append(message)
    *answers, alive = received
    assert alive.dotted == "2.05"
    if case.answer == SILENCE:
        assert answers == []
    elif case.answer == RESET:
        assert answers == [Message(RST, 0, MESSAGE_ID)]
    else:
        assert [(a.type, a.message_id, a.dotted) for a in answers] == [(ACK, MESSAGE_ID, case.answer)]
    assert all(len(bytes(a)) <= max(SMALL, len(case.datagram)) for a in answers)
    owes_nothing(running, before)


def test_who_fails_without_end_takes_nothing_from_who_does_not(
    state: StateDir, running: Running, client: Client
) -> None:
    """CVE-2022-39368: failed handshakes were counted, and the counter never went down."""
    device = Device(state)
    before = len(running.server._registrar._transactions)
    for number in range(300):
        request = device.request()
        forged = request[:-16] + os.urandom(16)
        assert client.post(forged, type=NON if number % 3 == 0 else CON).dotted == "4.01"
    owes_nothing(running, before)
    register(state, client, device)


def test_uploads_that_nobody_ends_are_few(running: Running, client: Client) -> None:
    """CVE-2019-9004: what one crafted packet left was never freed."""
    before = len(running.server._registrar._transactions)
    for number in range(UPLOADS + 50):
        options = [*REGISTER, (BLOCK1, b"\x0a"), (REQUEST_TAG, number.to_bytes(2, "big"))]
        assert client.request(POST, options, bytes(64)).dotted == "2.31"
    (site,) = {running.server._coap._site}
    uploads = uploads_of(site._router)
    assert len(uploads) == UPLOADS
    assert sum(map(len, uploads.values())) == 64 * UPLOADS
    owes_nothing(running, before)


def test_an_answer_to_nobody_known_is_small(running: Running, client: Client) -> None:
    """CVE-2019-9750: a server that sends more than it gets, to an address that the sender chose."""
    for options in (DISCOVERY, REGISTER[:2], [(11, b"x")], [(65001, b"")], [(35, b"coap://x")]):
        for code in (GET, POST, 5):
            question = Message(CON, code, os.getpid() & 0xFF | code << 8, b"", options)
            client.send(bytes(question))
            response = client.receive()
            assert response is not None
            assert len(bytes(response)) <= SMALL
    for _ in range(2):  # a duplicate is not answered at greater length either
        client.send(bytes(Message(CON, GET, 0x7777, b"", DISCOVERY)))
        response = client.receive()
        assert response is not None
        assert len(bytes(response)) <= SMALL


@pytest.mark.parametrize(("longest", "size"), [(27, 85), (MAX_SERVER_URI, 186)])
def test_the_answer_to_a_replayed_request_is_longer_only_when_it_redirects_far(longest: int, size: int) -> None:
    """SECURITY.md, on amplification: an overheard REQUEST of 85 bytes can be answered again, to anybody."""
    request = Request(bytes(17), Version(1, 0), bytes(32))
    asked = Message(CON, POST, 1, b"tttt", REGISTER, encode(request))
    assert len(bytes(asked)) == 85
    redirect = Response(
        version=Version(1, 0),
        status=Status.REDIRECT,
        security_token=bytes(32),
        server_uri="coap://" + "h" * (longest - 7),
    )
    answer = piggybacked(bytes(asked)[2:8], Reply.cbor(Code.FORBIDDEN, encode(redirect)))
    assert len(answer) == size


def test_what_is_not_proved_moves_no_state_and_what_is_replayed_no_session(
    state: StateDir, running: Running, client: Client
) -> None:
    """CVE-2021-42142, and libcoap's issue 2036: a window that forgeries move, or that is not looked at."""
    device = Device(state)
    request = device.request()
    response = client.post(request).payload
    assert client.post(request).payload == response
    offer = device.read(request, response)
    first = offer.success()
    for at in (-1, -16):
        forged = bytearray(first)
        forged[at] ^= 1
        assert client.post(bytes(forged)).dotted == "4.01"
    confirm = client.post(first).payload
    assert offer.confirm(first, confirm)[0].status == Status.OK
    assert client.post(first).payload == confirm
    second = register(state, client, device)
    replayed = client.post(first)
    assert replayed.payload != confirm
    assert offer.confirm(first, replayed.payload)[0].status == Status.SUPERSEDED
    assert client.post(request).payload == response
    assert client.post(second).dotted == "2.04"
    live = [session for session in running.server._store.live(0) if session.device == _id(state, device)]
    assert len(live) == 1


def _id(state: StateDir, device: Device) -> bytes:
    return state.at_rest.device_id(device.imei)


# The device.


def respond(sent: Sent, case: ToDevice) -> bytes:
    return case.head + sent.mid + sent.token + case.rest


@pytest.mark.parametrize("confirming", [False, True], ids=["REQUESTING", "CONFIRMING"])
@pytest.mark.parametrize("case", TO_DEVICE, ids=lambda case: case.name)
def test_the_device_does_not_believe_it_and_registers(case: ToDevice, confirming: bool) -> None:
    bench = Bench()
    sent = bench.offered() if confirming else bench.wait_sent()
    saves, state = bench.storage.saves, bench.state
    assert bench.step(respond(sent, case)) is None
    assert bench.storage.saves == saves
    assert bench.registration.client_id is None
    if case.backs_off:
        assert bench.wake is not None
        assert 0 < bench.wake - bench.now <= HOUR * 3 // 2
        sent = bench.wait_sent()
    else:
        assert bench.state == state
    if not confirming:
        sent = bench.send(answer(sent, bench.server.response(sent.payload)))
    bench.step(answer(sent, bench.server.confirm(sent.payload)))
    assert bench.state == "REGISTERED"


def test_the_device_answers_rubbish_with_four_bytes_or_none() -> None:
    """CVE-2018-12680, and amplification by a device."""
    bench = Bench()
    bench.wait_sent()
    for size in range(40):
        for first in (0x40, 0x44, 0x48, 0x4F, 0x54, 0x64, 0x74, 0xFF, 0):
            reply = bench.step(bytes([first, 0x44]) + bytes(size))
            assert reply is None or len(reply.bytes) == 4 <= size + 2
    assert bench.state == "REQUESTING"


def test_the_device_believes_no_answer_to_another_request() -> None:
    """A recorded RESPONSE or CONFIRM is worth nothing in another exchange, though its security token is valid."""
    bench = Bench()
    request = bench.wait_sent()
    response = bench.server.response(request.payload)
    success = bench.send(answer(request, response))
    confirm = bench.server.confirm(success.payload)
    bench.step(answer(success, confirm))
    assert bench.state == "REGISTERED"
    bench.start()
    again = bench.wait_sent()
    bench.step(answer(again, response))
    bench.step(answer(again, confirm, CHANGED))
    assert bench.state == "REQUESTING"
    later = bench.send(answer(again, bench.server.response(again.payload)))
    bench.step(answer(later, confirm))
    bench.step(answer(later, response))
    assert bench.state == "CONFIRMING"
