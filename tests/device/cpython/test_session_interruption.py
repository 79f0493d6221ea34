"""An exception between any two bytecodes of a session: it may end a step, but no number is used twice for it."""

import pytest

from dpe_device import coap, registration, session
from tests.device.cpython import test_interruption
from tests.device.cpython.test_interruption import STEPS, Injector, Interruption
from tests.device.scripted import Chance, sealed
from tests.device.sessions import DELETE, DELETED, POST, Request, SessionBench

pytestmark = pytest.mark.timeout(240)  # some seconds, on a machine that does nothing else

FILES = {session.__file__, registration.__file__, coap.__file__}


def interrupted(at: int, method: int) -> str:
    """Report or deregister with an interruption at a bytecode; return where it was, or ""."""
    bench = SessionBench(Chance()).opened()
    bench.report()
    bench.boot()
    injector = Injector(at)
    datagram = None
    sent: dict[int, bytes] = {}
    bench.session.want(method)
    for _ in range(STEPS):
        out = None
        try:
            with injector.armed():
                out = bench.step(datagram)
        except Interruption:
            pass
        place = injector.place
        record = bench.storage.record or b""
        assert record == sealed(record[:-16]), place
        datagram = None
        if bench.session.due is None if method == DELETE else bench.said.results[-1:] == [(0x44, b"")]:
            break
        if out is None:
            bench.now += 10_000
            continue
        request = Request(out, bench.context)
        assert sent.setdefault(request.number, out.bytes[8:]) == out.bytes[8:], place
        datagram = bench.protected(request, DELETED if request.method == DELETE else 0x44)
    else:
        raise AssertionError(f"it does not go on: {injector.place}")
    if method == DELETE:
        bench.boot()
        assert bench.state == "IDLE", injector.place
    else:
        bench.report()
    return injector.place


def every(method: int) -> int:
    """Interrupt at every bytecode; return how many there are."""
    before = test_interruption.CORE
    test_interruption.CORE = FILES
    try:
        at = 1
        while interrupted(at, method):
            at += 1
        return at
    finally:
        test_interruption.CORE = before


def test_an_interruption_at_any_bytecode_of_a_report() -> None:
    assert every(POST) > 300, "the session ran hardly any bytecode"


def test_an_interruption_at_any_bytecode_of_deregistering() -> None:
    assert every(DELETE) > 300, "the session ran hardly any bytecode"
