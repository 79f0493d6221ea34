"""What a registration takes: the least heap, the instructions, and the bytes on the wire, without any loss."""

from collections.abc import Callable
from dataclasses import dataclass

from dpe_bench.device.contenders import Contender
from dpe_bench.device.interpreter import lines_of
from dpe_bench.device.runs import Ground
from dpe_coap.errors import LocalError
from dpe_tools.relay import Relay

ACK_TIMEOUT = 2000
"""ms, CoAP's own: nothing is lost here."""
SHORT_ACK_TIMEOUT = 200
"""ms, where most tries must fail: one that cannot keep what it receives is waited for in vain."""
AMPLE_HEAP = 262_144
HEAP_STEP = 64
"""Bytes to which the least heap is found."""
IN_A_ROW = 3
"""Registrations that one process must do with a heap."""
COUNTED = 10
"""Registrations, or reads of a message, whose instructions are counted."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one registration takes."""

    wire: int
    """Bytes above UDP, both ways."""
    instructions: int | None
    """Of this machine, once everything is loaded; None if nothing here counts them."""
    heap: int
    """The least heap of the interpreter, in bytes, with which devices register; code and all are in it."""


def measure(ground: Ground, contender: Contender) -> Costs:
    """Measure a contender; LocalError if it does not register."""
    return Costs(_wire(ground, contender), _instructions(ground, contender), _least_heap(ground, contender))


def _least_heap(ground: Ground, contender: Contender) -> int:
    def suffices(heap: int) -> bool:
        return ground.register(contender, IN_A_ROW, ground.server, SHORT_ACK_TIMEOUT, heap=heap).registered == IN_A_ROW

    return _least(suffices)


def idle_heap(ground: Ground) -> int:
    """Return the least heap with which the interpreter runs an empty program."""

    def suffices(heap: int) -> bool:
        process = ground.interpreter.start("idle", heap=heap)
        lines_of(process, failing=True)
        return process.returncode == 0

    return _least(suffices)


def _least(suffices: Callable[[int], bool]) -> int:
    too_little, enough = 0, AMPLE_HEAP
    if not suffices(enough):
        raise LocalError(f"it does not register with a heap of {AMPLE_HEAP} bytes")
    while enough - too_little > HEAP_STEP:
        heap = (too_little + enough) // 2
        if suffices(heap):
            enough = heap
        else:
            too_little = heap
    return enough


def _instructions(ground: Ground, contender: Contender) -> int | None:
    def count(registrations: int) -> int | None:
        arguments = ground.arguments(contender, registrations, ground.server, ACK_TIMEOUT)
        return ground.interpreter.instructions(contender.program, *arguments)

    more, less = count(COUNTED + 1), count(1)
    return None if more is None or less is None else (more - less) // COUNTED


def _wire(ground: Ground, contender: Contender) -> int:
    sizes: list[int] = []
    with Relay(ground.server, tap=lambda _sender, datagram, _lost: sizes.append(len(datagram))) as relay:
        if ground.register(contender, 1, relay.address, ACK_TIMEOUT).registered != 1:
            raise LocalError(f"{contender.name} does not register, and nothing was lost")
    return sum(sizes)
