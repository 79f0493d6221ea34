"""Every refusal is the same datagram on either way but for the message ID and the CoAP token."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpe_server.coap.lane import LONGEST_FORM
from tests.assurance.timing.refusals import Refusals
from tests.coap import ACK, CON, NON, POST, REGISTER, Client, Message, Options
from tests.end_to_end.running import Running, running_on
from tests.links import never_separate

WAYS: dict[str, tuple[int, Options]] = {
    "the lane": (CON, REGISTER),
    "the aiocoap endpoint": (CON, [*REGISTER, (2, bytes(LONGEST_FORM))]),
    "the aiocoap endpoint, not confirmable": (NON, REGISTER),
}
"""By which way a message is answered: its type and options."""


@pytest.fixture
def refusals(tmp_path: Path) -> Refusals:
    return Refusals(tmp_path / "state")


@pytest.fixture
def running(refusals: Refusals) -> Iterator[Running]:
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
