"""What the emulated board's processor and memory do for a registration: instructions, and the least heap."""

import re
from dataclasses import dataclass, replace

from dpe_coap.errors import LocalError
from dpe_tools.board_stage import BoardStage
from dpe_tools.emulator import HEAP

AMPLE_HEAP = 6500
"""How many bytes of the heap the first measurement leaves free."""
HEAP_STEP = 32
"""The least heap is measured to so many bytes."""
HEAP_TRIES = 3
"""Attempts. With little more than the least heap, success depends on random bytes and on what looks like a pointer."""
REGISTRATIONS = 20
"""A heap is enough for everything if so many registrations succeed in it, one after the other."""
INSTRUCTIONS_PER_US = 1000


@dataclass(frozen=True, slots=True)
class Cost:
    """The processor time and memory that a registration takes (device/boards/mps2_an385/measure.py)."""

    instructions: int
    """Instructions of the client itself."""
    network: int
    """Instructions of the network, to send and receive the datagrams."""
    heap: int
    """Bytes of free heap with which a registration can succeed."""


def measure(stage: BoardStage, suite: int) -> Cost:
    """Return what a registration of a provisioned board costs. The board must count instructions."""
    ample = try_to_register(stage, suite, AMPLE_HEAP)
    if ample is None:
        raise LocalError(f"the board cannot register with {AMPLE_HEAP} bytes of its heap free")
    too_little, enough = 1000, ample.heap
    while enough - too_little > HEAP_STEP:
        heap = (too_little + enough) // 2
        if any(try_to_register(stage, suite, heap) for _ in range(HEAP_TRIES)):
            enough = heap
        else:
            too_little = heap
    return replace(ample, heap=enough)


def try_to_register(stage: BoardStage, suite: int, heap: int) -> Cost | None:
    """Return what a registration costs with about ``heap`` bytes free, or None if it cannot be done with so few."""
    stage.board.type(f"measure {suite} {heap}")
    took = re.match(r"(\d+) us, and (\d+) us for the network, with a heap of (\d+) ", stage.board.wait_for("measured "))
    if took is None:
        return None
    client, network, free = map(int, took.groups())
    return Cost(client * INSTRUCTIONS_PER_US, network * INSTRUCTIONS_PER_US, free)


def least_heap(stage: BoardStage, suite: int) -> int:
    """Return the least heap in bytes, to HEAP_STEP, in which a provisioned board starts and registers repeatedly."""
    too_little, enough = 4096, 2 * HEAP
    while enough - too_little > HEAP_STEP:
        heap = (too_little + enough) // 2
        if _registers(stage, suite, heap):
            enough = heap
        else:
            too_little = heap
    return enough


def _registers(stage: BoardStage, suite: int, heap: int) -> bool:
    stage.board.power_off()
    stage.board.heap = heap
    stage.board.power_on()
    try:
        stage.registered()
        for _ in range(REGISTRATIONS):
            stage.board.type(f"register {suite}")
            stage.registered()
    except LocalError:
        return False
    return True
