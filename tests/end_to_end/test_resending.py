"""The same bytes get the same answer: under one message ID and under another, and after a restart."""

import sqlite3
from contextlib import closing

import pytest

from dpe_coap.messages import Success, decode
from dpe_coap.numbers import Status
from dpe_server.operation.state_dir import StateDir
from tests.coap import ACK, CON, POST, REGISTER, Client, Message
from tests.end_to_end.devices import Device, Offered
from tests.end_to_end.running import running_on


def rows(state: StateDir) -> int:
    with closing(sqlite3.connect(state.path / "dpe.sqlite")) as database:
        (count,) = database.execute("SELECT count(*) FROM session").fetchone()
        assert isinstance(count, int)
        return count


def exchange(client: Client, payload: bytes, message_id: int) -> Message:
    client.send(bytes(Message(CON, POST, message_id, b"tt", REGISTER, payload)))
    response = client.receive()
    assert response is not None
    return response


@pytest.fixture
def device(state: StateDir) -> Device:
    return Device(state)


def offer_of(client: Client, device: Device) -> Offered:
    request = device.request()
    return device.read(request, client.post(request).payload)


def test_a_resent_request_gets_the_same_response_while_it_is_pending(device: Device, client: Client) -> None:
    request = device.request()
    first = exchange(client, request, 1)
    assert first.dotted == "2.04"
    assert exchange(client, request, 1) == first
    second = exchange(client, request, 2)
    assert (second.code, second.options, second.payload) == (first.code, first.options, first.payload)


def test_a_resent_success_gets_the_same_confirm_and_makes_one_row(
    state: StateDir, device: Device, client: Client
) -> None:
    success = offer_of(client, device).success()
    first = exchange(client, success, 1)
    assert first.dotted == "2.04"
    assert exchange(client, success, 1) == first
    second = exchange(client, success, 2)
    assert (second.code, second.options, second.payload) == (first.code, first.options, first.payload)
    assert rows(state) == 1


def test_from_another_address_the_answers_are_the_same(state: StateDir, device: Device, client: Client) -> None:
    """A device whose address changes under it, as behind a NAT."""
    request = device.request()
    response = client.post(request)
    success = device.read(request, response.payload).success()
    confirm = client.post(success)
    host, port = client.server
    with Client(f"coap://{host}:{port}") as moved:
        assert moved.post(success).payload == confirm.payload
    assert rows(state) == 1


def test_a_resent_success_gets_the_same_confirm_after_a_restart(state: StateDir, device: Device) -> None:
    with running_on(state) as running, Client(running.uri) as client:
        offer = offer_of(client, device)
        success = offer.success()
        first = exchange(client, success, 1)
    assert offer.confirm(success, first.payload)[0].status == Status.OK
    for _ in range(2):
        with running_on(state) as running, Client(running.uri) as client:
            assert exchange(client, success, 1) == first
            assert exchange(client, success, 2).payload == first.payload
    assert rows(state) == 1


def test_a_success_whose_transaction_was_lost_in_a_restart_is_4_01_and_the_device_registers_anew(
    state: StateDir, device: Device
) -> None:
    with running_on(state) as running, Client(running.uri) as client:
        success = offer_of(client, device).success()
    with running_on(state) as running, Client(running.uri) as client:
        response = exchange(client, success, 1)
        assert (response.dotted, response.payload) == ("4.01", b"")
        assert rows(state) == 0
        assert client.post(offer_of(client, device).success()).dotted == "2.04"
    assert rows(state) == 1


def test_a_new_registration_replaces_the_device_s_session(state: StateDir, device: Device, client: Client) -> None:
    first = offer_of(client, device)
    second = offer_of(client, device)
    assert client.post(first.success()).dotted == "2.04"
    success = second.success()
    confirm, _ = second.confirm(success, client.post(success).payload)
    assert confirm.status == Status.OK
    assert rows(state) == 1
    superseded, _ = first.confirm(first.success(), client.post(first.success()).payload)
    assert superseded.status == Status.SUPERSEDED


def test_a_replayed_request_does_not_disturb_the_session(state: StateDir, device: Device) -> None:
    with running_on(state) as running, Client(running.uri) as client:
        request = device.request()
        offer = device.read(request, client.post(request).payload)
        success = offer.success()
        confirm = client.post(success)
    with running_on(state) as running, Client(running.uri) as client:
        assert client.post(request).dotted == "2.04"
        assert client.post(success).payload == confirm.payload
    with closing(sqlite3.connect(state.path / "dpe.sqlite")) as database:
        message = decode(success)
        assert isinstance(message, Success)
        held = database.execute("SELECT client_id FROM session").fetchall()
    assert held == [(int.from_bytes(message.client_id, "big"),)]


def answers_of(client: Client, count: int) -> dict[int, Message]:
    """Receive so many responses, by the one byte of their CoAP token; a busy server sends some of them apart."""
    answers: dict[int, Message] = {}
    while len(answers) < count:
        answer = client.receive()
        assert answer is not None, f"{len(answers)} of {count} answers"
        if answer.type == CON:
            client.send(bytes(Message(ACK, 0, answer.message_id)))
        if answer.code != 0:
            answers[answer.coap_token[0]] = answer
    return answers


def test_many_devices_at_once_get_different_client_ids(state: StateDir, client: Client) -> None:
    devices = {number: Device(state) for number in range(100)}
    requests = {number: device.request() for number, device in devices.items()}
    for number, request in requests.items():
        client.send(bytes(Message(CON, POST, number, bytes([number]), REGISTER, request)))
    for number, response in answers_of(client, 100).items():
        success = devices[number].read(requests[number], response.payload).success()
        client.send(bytes(Message(CON, POST, 1_000 + number, bytes([number]), REGISTER, success)))
    assert {answer.dotted for answer in answers_of(client, 100).values()} == {"2.04"}
    assert rows(state) == 100
