"""What a registration costs the processor and the heap, without the network's drivers and the wait for the server.

On QEMU with `-icount shift=0` the clock counts instructions: 1,000 in a microsecond.
"""

import gc
import socket
import time
from os import urandom

from dpe_device import x25519
from dpe_device.registration import REGISTERED, Registration
from dpe_device.udp import resolve

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Any, Credential

_LONGEST = const(320)


class _Memory:
    # Storage that costs nothing.
    record: "bytes | None" = None

    def load(self) -> "bytes | None":
        return self.record

    def save(self, record: bytes) -> None:
        self.record = record


def measure(credential: "Credential", suite: int, heap: int) -> str:
    """Register with about `heap` bytes of the heap free; return what it took, or that it was too little."""
    found = resolve(credential["server"])
    link, peer = socket.socket(found[0], socket.SOCK_DGRAM), found[-1]
    gc.collect()
    taken: "Any" = None
    while gc.mem_free() > heap:
        taken = taken, bytearray(32)
    gc.collect()
    free = gc.mem_free()
    try:
        return "%d us with a heap of %d bytes" % (_register(credential, suite, link, peer), free)
    except MemoryError:
        return "nothing: a heap of %d bytes is too small" % free


def _register(credential: "Credential", suite: int, link: "Any", peer: "Any") -> int:
    spent = now = 0
    datagram = None
    start = time.ticks_us()
    registration = Registration(credential, _Memory(), urandom, x25519=x25519, suite=suite)
    registration.peer = peer
    while True:
        out, wake, _ = registration.step(now, datagram, peer)
        spent += time.ticks_diff(time.ticks_us(), start)
        if registration.state == REGISTERED:
            return spent
        if out is not None:
            link.sendto(out, peer)
        datagram = None
        if wake is not None and wake > now:
            link.settimeout((wake - now) / 1000)
            try:
                datagram = link.recvfrom(_LONGEST)[0]
            except OSError:
                now = wake
        start = time.ticks_us()
