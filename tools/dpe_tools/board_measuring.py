"""What a registration and a report cost the emulated board: instructions, and the least heap."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dpe_coap.errors import LocalError
from dpe_tools.board_stage import BoardStage
from dpe_tools.emulator import HEAP, HEAP_SESSION

AMPLE_HEAP = 6500
"""How many bytes of the heap the first measurement leaves free."""
HEAP_REPORTS = 2 * HEAP_SESSION
"""Bytes of the heap when reports are measured, and how many of them are free. The code that measures is there, too."""
FREE_FOR_REPORTS = 8000
AES = ("C", "Python")
"""Where AES comes from: MicroPython's `cryptolib`, or `dpe_device.aes`."""
MEASURES_SECONDS = 300
"""A registration with X25519 in hardly enough memory collects garbage all the time."""
HEAP_STEP = 32
"""The least heap is measured to so many bytes."""
HEAP_TRIES = 3
"""Attempts. With little more than the least heap, success depends on random bytes and on what looks like a pointer."""
WHOLE = {
    "suite 1": ["register 1"] * 15,
    "suite 2": ["register 2"] * 15,
    "reports": ["report 1", "report 2", "register 1", *(f"report {number}" for number in range(3, 7))],
}
"""What a board must do, one after the other, for its heap to be enough for everything."""
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


@dataclass(frozen=True, slots=True)
class ReportCost:
    """The instructions of the client for a report of six properties and its answer, without those of the network."""

    first: int
    """The first after a boot: it derives the keys, saves a block of numbers, and is told six policies."""
    later: int
    """The next one, whose answer is empty."""


def measure_reports(stage: BoardStage, aes: str) -> ReportCost:
    """Return what reports of a provisioned board cost, with one of AES. The board must count instructions."""
    if stage.board.heap != HEAP_REPORTS:
        stage.board.power_off()
        stage.board.heap = HEAP_REPORTS
        stage.board.power_on()
        stage.registered()
    stage.board.type(f"measure {aes} {FREE_FOR_REPORTS}")
    took = re.match(r"(\d+) us, and \d+ us for the network; (\d+) us, ", said := stage.board.wait_for("measured "))
    if took is None:
        raise LocalError(f"the board cannot report: {said}")
    first, later = map(int, took.groups())
    return ReportCost(first * INSTRUCTIONS_PER_US, later * INSTRUCTIONS_PER_US)


def try_to_register(stage: BoardStage, suite: int, heap: int) -> Cost | None:
    """Return what a registration costs with about ``heap`` bytes free, or None if it cannot be done with so few."""
    stage.board.type(f"measure {suite} {heap}")
    took = re.match(
        r"(\d+) us, and (\d+) us for the network, with a heap of (\d+) ",
        stage.board.wait_for("measured ", MEASURES_SECONDS),
    )
    if took is None:
        return None
    client, network, free = map(int, took.groups())
    return Cost(client * INSTRUCTIONS_PER_US, network * INSTRUCTIONS_PER_US, free)


def least_heap(stage: BoardStage, commands: Iterable[str]) -> int:
    """Return the least heap in bytes, to HEAP_STEP, in which a provisioned board starts and obeys these commands."""
    obeyed = list(commands)
    too_little, enough = 4096, 2 * HEAP
    while enough - too_little > HEAP_STEP:
        heap = (too_little + enough) // 2
        if _obeys(stage, obeyed, heap):
            enough = heap
        else:
            too_little = heap
    return enough


def _obeys(stage: BoardStage, commands: Iterable[str], heap: int) -> bool:
    stage.board.power_off()
    stage.restart_server()  # it registers one device 20 times a minute, and takes ten requests of a session at once
    stage.board.heap = heap
    stage.board.power_on()
    try:
        stage.registered()
        for command in commands:
            stage.board.type(command)
            if command.startswith("register"):
                stage.registered()
            else:
                stage.board.wait_for("report: READY")
    except LocalError:
        return False
    return True
