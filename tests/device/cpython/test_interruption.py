"""An exception between any two bytecodes of the DPE Client's core: it may end a step, but must not break the client.

That is more than MemoryError does on a board, and what KeyboardInterrupt and a cancelled task may do.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from dpe_device import coap, messages, registration
from tests.device.scripted import ACK, CLIENT_ID, Bench, Chance, Sent, answer, sealed

CORE = {registration.__file__, coap.__file__}
STEPS = 40


class Interruption(BaseException):
    """Raised where the test wants it."""


class Injector:
    """Raises Interruption at the ``at``-th bytecode of the core that is run inside ``armed``."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.place = ""

    @contextmanager
    def armed(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in CORE:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._bytecode

    def _bytecode(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_name}, line {frame.f_lineno}, bytecode at {frame.f_lasti}"
                raise Interruption
        return self._bytecode


def respond(bench: Bench, sent: Sent | None, status: int) -> bytes | None:
    """The server's answer to what the device sent; ``status`` is of the first CONFIRM."""
    if sent is None or sent.type == ACK:
        return None
    if sent.payload[2] == 1:
        return answer(sent, bench.server.response(sent.payload))
    return answer(sent, bench.server.confirm(sent.payload, status, 3600))


def interrupted(at: int, status: int) -> tuple[Bench, str]:
    """Register, with an interruption at a bytecode and a first CONFIRM of this status; return where it was, or ""."""
    bench = Bench(Chance())
    injector = Injector(at)
    datagram = None
    for _ in range(STEPS):
        sent = None
        try:
            with injector.armed():
                sent = bench.step(datagram)
        except Interruption:
            pass
        place = injector.place
        record = bench.storage.record
        assert record is None or record == sealed(record[:-16]), place
        if bench.state == "REGISTERED":
            done = bench.registration
            assert (done.client_id, done.lifetime) == (CLIENT_ID, 3600), place
            assert done.oscore == keys_of(bench), place
            break
        datagram = respond(bench, sent, status)
        if sent is not None and sent.payload[2:3] == b"\3":
            status = 0
        if datagram is None:
            bench.now += 100_000
    assert bench.state == "REGISTERED", injector.place
    oscore = bench.registration.oscore
    bench.boot()
    assert bench.state == "REGISTERED", injector.place
    assert bench.registration.oscore == oscore, injector.place
    return bench, injector.place


def keys_of(bench: Bench) -> tuple[bytes, bytes]:
    """The OSCORE context as the server has it, of the last SUCCESS."""
    return messages.export(bench.server.prk3, bench.server.th3)


@pytest.mark.parametrize("status", [0, 33], ids=["registered", "superseded first"])
def test_an_interruption_at_any_bytecode(status: int) -> None:
    at = 1
    while interrupted(at, status)[1]:
        at += 1
    assert at > 500, "the core ran hardly any bytecode"
