"""Out of memory, the DPE Client fails with MemoryError alone, keeps what it has stored, and then goes on."""

import gc

from tests.device.scripted import ACK, Bench, Chance, Sent, answer, sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

mem_free: "Any" = getattr(gc, "mem_free", None)  # MicroPython has it

FRUITLESS = 40
"""More steps than a registration takes, with one that fails."""


class Trouble:
    """Makes the ``at``-th call of a hook fail: entropy, storage, or the application's ``accept``."""

    def __init__(self, at: int) -> None:
        self.left = at

    def hook(self, function: "Callable[..., Any]") -> "Any":
        def called(*arguments: "Any") -> "Any":
            self.left -= 1
            if self.left == 0:
                raise MemoryError
            return function(*arguments)

        return called


def whole(bench: Bench) -> bool:
    """Whether what is stored is absent or can be read."""
    record = bench.storage.record
    return record is None or record == sealed(record[:-16])


def respond(bench: Bench, sent: "Sent | None") -> "bytes | None":
    """The server's answer to what the device sent."""
    if sent is None or sent.type == ACK:
        return None
    if sent.payload[2] == 1:
        return answer(sent, bench.server.response(sent.payload))
    return answer(sent, bench.server.confirm(sent.payload, 0, 3600))


def test_a_hook_that_fails_at_any_call_delays_a_registration_only() -> None:
    at = 0
    failed = True
    while failed:
        at += 1
        trouble = Trouble(at)
        chance = trouble.hook(Chance())
        bench = None
        failed = False
        try:
            bench = Bench(chance, accept=trouble.hook(lambda client_id, version: 0))
        except MemoryError:
            failed = True
            bench = Bench(chance)
        setattr(bench.storage, "save", trouble.hook(bench.storage.save))  # noqa: B010  # no type checker likes it
        datagram = None
        for _ in range(FRUITLESS):
            try:
                sent = bench.step(datagram)
                datagram = respond(bench, sent)
            except MemoryError:
                failed = True
                datagram = None
            assert whole(bench)
            if bench.state == "REGISTERED":
                break
            if datagram is None:
                bench.now += 1000
        assert bench.state == "REGISTERED"
        assert bench.registration.lifetime == 3600
        trouble.left = 0
        bench.boot()
        assert bench.state == "REGISTERED"
    assert at > 8, "the hooks were hardly called"


def squeeze(free: int) -> "list[bytearray]":
    """Take all the memory but ``free`` bytes, as far as its pieces allow, until ``release``."""
    gc.collect()
    ballast = [bytearray()] * 1024
    count = 0
    size = 1 << 20
    while size > 16 and count < len(ballast):
        if mem_free() - free > size + 64:
            try:
                ballast[count] = bytearray(size)
                count += 1
                continue
            except MemoryError:
                pass
        size //= 2
    return ballast


def release(ballast: "list[bytearray]") -> None:
    """Give the memory back, also where a stale pointer on the stack would keep it from the collector."""
    ballast[:] = []
    scrub(24)
    gc.collect()


def scrub(depth: int) -> int:
    """Write over the part of the stack that is not in use."""
    return scrub(depth - 1) + depth if depth else 0


def fails_when_squeezed(at: int, free: int) -> bool:
    """Register with little memory at one step; return whether that was too little. It registers all the same."""
    failed = False
    bench = Bench()
    datagram = None
    for step in range(FRUITLESS):
        sent = None
        ballast = squeeze(free) if step == at else None
        try:
            sent = bench.step(datagram)
        except MemoryError:
            failed = True
        if ballast:
            release(ballast)
        assert whole(bench)
        if bench.state == "REGISTERED":
            break
        datagram = respond(bench, sent)
        if datagram is None:
            bench.now += 10000
    assert bench.state == "REGISTERED"
    bench.boot()
    assert bench.state == "REGISTERED"
    return failed


if mem_free:

    def test_with_little_memory_at_a_step_it_fails_cleanly_and_registers_when_there_is_more() -> None:
        for step in range(3):
            assert fails_when_squeezed(step, 0)
            for free in range(0, 16384, 512):
                fails_when_squeezed(step, free)
            assert not fails_when_squeezed(step, 65536)
