"""What the board does in its session: the commands `report`, `deregister` and `course` of its console.

Its device stays, with what the server has told it, until the board registers anew, deregisters or is reset.
"""

import gc
import sys

import cryptolib
import nonvolatile
from heap import fill

import dpe_device.udp
from dpe_device.device import Device

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Any, Credential, Property, Value

_LONGEST = const(320)  # bytes; an answer with six policies has about 70
_PATIENCE = const(5000)  # ms
_BACKOFF = const(100)  # ms: somebody watches this board
_ACK_TIMEOUT = const(50)  # ms, of a course: on a link that loses much, CoAP's 2 s would take hours
_COLLECT_AFTER = const(512)  # bytes; in little memory, what stays must not be scattered over it

device: "Any" = None
taken: "Any" = None


class Paused:
    """The storage of a board that waits for a line of its console once it has saved."""

    @staticmethod
    def load() -> "bytes | None":
        """Return the record."""
        record: "bytes | None" = nonvolatile.load()
        return record

    @staticmethod
    def save(record: bytes) -> None:
        """Save; then wait."""
        nonvolatile.save(record)
        print("board: saved, and waiting")
        sys.stdin.readline()


def aes_in_c(key: bytes) -> "Any":
    """Return AES-128 of the firmware, which is in C."""
    return cryptolib.aes(key, 1)


def properties(number: int) -> "dict[Property, Value]":
    """Return six properties, of which each is another one for the next number."""
    return {
        0: 90 - 10 * (number & 7),
        1: "2.1." + str(number),
        2: number & 1 > 0,
        3: 2000 * (number & 15),
        4: "en" if number & 1 else "de",
        9: -60 - 40 * (number & 1),
    }


def report(credential: "Credential", argument: str) -> str:
    """Report the properties of a number; with a word behind it, wait when the storage has saved."""
    global device
    number, _, paused = argument.partition(" ")
    if not device:
        device = Device(credential, Paused if paused else nonvolatile, aes_in_c, longest=_LONGEST, backoff=_BACKOFF)
    dropped = dpe_device.udp.report(device, properties(int(number)), deadline_ms=_PATIENCE)
    return device.registration.state + (", dropped %s" % dropped if dropped else "")


def deregister(credential: "Credential", argument: str) -> str:
    """End the session."""
    global device
    if not device:
        device = Device(credential, nonvolatile, aes_in_c, longest=_LONGEST, backoff=_BACKOFF)
    confirmed = dpe_device.udp.deregister(device, deadline_ms=_PATIENCE)
    state: str = device.registration.state
    device = None
    return state + (", confirmed" if confirmed else ", not confirmed")


def course(credential: "Credential", argument: str) -> str:
    """Register anew, and then report the properties of these numbers: `course FIRST LAST HEAP`.

    Before the first course, so much of the heap is taken that HEAP bytes are free for everything.
    """
    global device, taken
    first, last, heap = [int(word) for word in argument.split()]
    if not device:
        gc.threshold(_COLLECT_AFTER)
        taken = fill(heap)
        device = Device(credential, nonvolatile, aes_in_c, longest=_LONGEST, ack_timeout=_ACK_TIMEOUT, backoff=_BACKOFF)
    device.registration.start()
    for number in range(first, last + 1):
        dropped = dpe_device.udp.report(device, properties(number))
        if dropped or device.reporter.code != 0x44:
            return "number %d failed, dropped %s" % (number, dropped)
    return "%s, number %d" % (device.registration.state, last)
