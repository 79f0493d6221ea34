"""The aiocoap endpoint under overload: bounded work in a turn, bounded memory, 5.03 from bytes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dpe_coap.binding import Code
from dpe_server.coap.aiocoap_endpoint import TURN, UNDER_WAY, CoapServer
from dpe_server.handling.reply import Reply
from dpe_server.operation.resources import router
from tests.coap import ACK, CON, DISCOVERY, GET, MAX_AGE, NON, POST, REGISTER, RST, Message
from tests.links import FakeLink, never_separate, settle

BUSY = ((MAX_AGE, b"\x3c"),)


class Running:
    """An endpoint on a link of the test; answers to POST wait for ``gate``."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.gate = asyncio.Event()
        self.asked = 0
        self.server = CoapServer([self.link], router(self._submit), retry_after=60)
        self.server.start()

    async def _submit(self, payload: bytes) -> Reply:
        self.asked += 1
        await self.gate.wait()
        return Reply.cbor(Code.CHANGED, payload)

    def sent(self) -> list[Message]:
        return [Message.parse(datagram) for datagram, _ in self.link.taken()]

    async def close(self) -> None:
        self.gate.set()
        await self.server.stop()
        await self.server.close()


def run(test: Callable[[Running], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        running = Running()
        await test(running)
        await running.close()

    with never_separate():
        asyncio.run(main())


def gets(count: int) -> list[bytes]:
    return [bytes(Message(CON, GET, number, number.to_bytes(2, "big"), DISCOVERY)) for number in range(count)]


def posts(count: int) -> list[bytes]:
    return [bytes(Message(CON, POST, number, number.to_bytes(2, "big"), REGISTER, b"x")) for number in range(count)]


def test_a_burst_is_answered_a_part_a_turn() -> None:
    async def test(running: Running) -> None:
        running.link.put(*gets(UNDER_WAY))
        answered = 0
        while answered < UNDER_WAY:
            await asyncio.sleep(0)
            messages = running.sent()
            assert {message.dotted for message in messages} <= {"2.05"}
            assert len(messages) <= TURN
            answered += len(messages)

    run(test)


def test_what_is_too_much_is_refused_at_once() -> None:
    async def test(running: Running) -> None:
        running.link.put(*gets(UNDER_WAY + 3))
        assert running.sent()[:3] == [
            Message(ACK, 0xA3, number, number.to_bytes(2, "big"), BUSY) for number in range(UNDER_WAY, UNDER_WAY + 3)
        ]
        await settle()
        assert len(running.sent()) == UNDER_WAY
        running.link.put(gets(1)[0])
        await settle()
        assert len(running.sent()) == 1

    run(test)


def test_requests_that_are_being_answered_count() -> None:
    async def test(running: Running) -> None:
        for start in range(0, UNDER_WAY, TURN):
            running.link.put(*posts(UNDER_WAY)[start : start + TURN])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert running.asked == UNDER_WAY
        for _ in range(100):  # a flood
            running.link.put(*gets(TURN))
            assert [message.dotted for message in running.sent()] == ["5.03"] * TURN
        running.gate.set()
        await settle()
        assert [message.dotted for message in running.sent()] == ["2.04"] * UNDER_WAY

    run(test)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x40\x01\x00",
        b"\x44\x01\x00\x01",
        b"\x49\x01\x00\x01" + bytes(9),
        b"\x80\x01\x00\x01",
        bytes(Message(CON, 0, 1)),
        bytes(Message(CON, 0x45, 1)),
        bytes(Message(NON, GET, 1, b"t", DISCOVERY)),
        bytes(Message(ACK, GET, 1, b"t", DISCOVERY)),
        bytes(Message(RST, 0, 1)),
    ],
    ids=bytes.hex,
)
def test_what_is_no_confirmable_request_is_dropped_in_a_flood(datagram: bytes) -> None:
    async def test(running: Running) -> None:
        running.link.put(*gets(UNDER_WAY))
        running.sent()
        running.link.put(datagram)
        assert running.sent() == []
        await settle()

    run(test)


def test_stopping_begins_what_waits() -> None:
    async def test(running: Running) -> None:
        running.link.put(*posts(3 * TURN))
        await running.server.stop()
        await asyncio.sleep(0)
        assert running.asked == 3 * TURN

    run(test)
