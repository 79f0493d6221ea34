"""Every refusal is the same datagram on either way but for the message ID and the CoAP token."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_server.coap.lane import LONGEST_FORM
from tests.assurance.timing.refusals import Refusals
from tests.assurance.timing.session_refusals import OSCORE, SessionRefusals, split
from tests.coap import ACK, CON, NON, POST, REGISTER, Client, Message, Options
from tests.end_to_end.running import Running, running_on
from tests.links import never_separate

WAYS: dict[str, tuple[int, Options]] = {
    "the lane": (CON, REGISTER),
    "the aiocoap endpoint": (CON, [*REGISTER, (2, bytes(LONGEST_FORM))]),
    "the aiocoap endpoint, not confirmable": (NON, REGISTER),
}
"""By which way a message is answered: its type and options."""

PROTECTED_WAYS: dict[str, Options] = {"the lane": [], "the aiocoap endpoint": [(2, b"")]}
"""By which way a protected request is answered: its options beside OSCORE."""


@pytest.fixture
def refusals(tmp_path: Path) -> Refusals:
    return Refusals(tmp_path / "state")


@pytest.fixture
def of_sessions(refusals: Refusals) -> SessionRefusals:
    return SessionRefusals(refusals.state)


@pytest.fixture
def running(refusals: Refusals, of_sessions: SessionRefusals) -> Iterator[Running]:
    # On a busy machine aiocoap would acknowledge first and answer later.
    with never_separate(), running_on(refusals.state) as running:
        yield running


def test_every_refusal_is_the_same_datagram(refusals: Refusals, running: Running) -> None:
    with Client(running.uri) as client:
        classes = {**refusals.requests(), **refusals.successes(lambda payload: client.post(payload).payload, [])}
        assert len(classes) == 13
        number = 0x7000
        for name, make in classes.items():
            for way, (kind, options) in WAYS.items():
                number += 1
                echo = number.to_bytes(2, "big")
                client.send(bytes(Message(kind, POST, number, echo * 4, options, make())))
                answer = client.socket.recv(65535)
                assert answer[:2] == bytes([0x48 | (ACK if kind == CON else NON) << 4, 0x81]), (name, way)
                assert kind == NON or answer[2:4] == echo, (name, way)
                assert answer[4:] == echo * 4, f"{name}, {way}: another's, or with an option or a payload"


def test_every_refusal_of_a_session_is_the_same_datagram(of_sessions: SessionRefusals, running: Running) -> None:
    """A non-confirmable request hears nothing at all: of two, only the confirmable one behind it is answered."""

    def ask(payload: bytes) -> bytes:
        option, ciphertext = split(payload)
        return client.request(POST, [(OSCORE, option)], ciphertext).payload

    with Client(running.uri) as client:
        of_sessions.speak(ask)
        classes = of_sessions.requests()
        assert len(classes) == 8
        number = 0x7000
        for name, make in classes.items():
            for way, options in PROTECTED_WAYS.items():
                for kind in (NON, CON):
                    number += 1
                    echo = number.to_bytes(2, "big")
                    option, ciphertext = split(make())
                    client.send(bytes(Message(kind, POST, number, echo * 4, [*options, (OSCORE, option)], ciphertext)))
                answer = client.socket.recv(65535)
                assert answer == bytes([0x48 | ACK << 4, 0x81]) + echo * 5, (name, way)
