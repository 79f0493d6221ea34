"""What a registration costs the processor and the heap, without the network's drivers and the wait for the server.

On QEMU with `-icount shift=0` the clock counts instructions: 1,000 in a microsecond.
"""

import gc
import time

from dpe_device import x25519
from dpe_device.registration import REGISTERED, Registration
from dpe_device.udp import connect
from entropy import urandom

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Credential


class _Memory:
    # Storage that costs nothing.
    record: "bytes | None" = None

    def load(self) -> "bytes | None":
        return self.record

    def save(self, record: bytes) -> None:
        self.record = record


def measure(credential: "Credential", suite: int, spare: int) -> str:
    """Register while all but `spare` bytes of the free heap are taken; return what it took, or that it failed."""
    link, peer = connect(credential["server"])
    taken = []
    gc.collect()
    while gc.mem_free() > spare:
        taken.append(bytearray(32))
    gc.collect()
    free = gc.mem_free()
    try:
        spent = _register(credential, suite, link, peer)
    except MemoryError:
        spent = -1
    return "%d us with %d bytes of heap free" % (spent, free) if spent >= 0 else "too little: %d bytes" % free


def _register(credential, suite, link, peer) -> int:
    spent = now = 0
    datagram = None
    registration = Registration(credential, _Memory(), urandom, x25519=x25519, suite=suite)
    registration.peer = peer
    while registration.state != REGISTERED:
        start = time.ticks_us()
        out, wake, _ = registration.step(now, datagram, peer)
        spent += time.ticks_diff(time.ticks_us(), start)
        datagram = None
        if out is not None:
            link.sendto(out, peer)
        if wake is not None and wake > now:
            link.settimeout((wake - now) / 1000)
            try:
                datagram = link.recvfrom(320)[0]
            except OSError:
                now = wake
    return spent
