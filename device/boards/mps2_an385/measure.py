"""What a registration costs the processor and the heap.

The client's own work is counted, from its making to REGISTERED: every step, the random bytes that it draws, the records
that it makes for storage, which here is in memory, and each collection of garbage to which the size of the heap forces
it. The network is counted apart: what it takes to send a datagram, and to receive one that has come. Nobody counts the
wait for one, nor imports and the making of the socket.

On QEMU with `-icount shift=0` the clock counts instructions: 1,000 in a microsecond.
"""

import gc
import socket
import time
from os import urandom

from heap import fill

from dpe_device import x25519
from dpe_device.registration import REGISTERED, Registration
from dpe_device.udp import resolve

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Any, Credential

_LONGEST = const(320)
_PATIENCE = const(5000)  # ms


class Memory:
    """Storage that costs nothing."""

    record: "bytes | None" = None

    def load(self) -> "bytes | None":
        """Return the record."""
        return self.record

    def save(self, record: bytes) -> None:
        """Keep a record."""
        self.record = record


def measure(credential: "Credential", suite: str, heap: int) -> str:
    """Register with about `heap` bytes of the heap free; return what it took, or why it could not."""
    found = resolve(credential["server"])[0]
    sock, peer = socket.socket(found[0], socket.SOCK_DGRAM), found[-1]
    sock.settimeout(0)
    _taken = fill(heap)
    free = gc.mem_free()
    try:
        start = time.ticks_us()
        registration = Registration(credential, Memory(), urandom, x25519=x25519, suite=int(suite))
        made = since(start)
        client, network = drive(registration, REGISTERED, sock, peer)
        client += made
        return "%d us, and %d us for the network, with a heap of %d bytes" % (client, network, free)
    except MemoryError:
        return "nothing: a heap of %d bytes is too small" % free
    except OSError:
        return "nothing: the server did not register this board"
    finally:
        sock.close()


def drive(registration: "Any", end: str, sock: "Any", peer: "Any") -> "tuple[int, int]":
    """Step a registration or a session until this state, and return what it took: itself and the network, in us."""
    now = client = network = 0
    datagram = None
    began = time.ticks_ms()
    while True:
        start = time.ticks_us()
        out, wake, state = registration.step(now, datagram, peer)
        client += since(start)
        if state == end:
            return client, network
        if wake is None or now > _PATIENCE:
            raise OSError
        if out is not None:
            registration.peer = peer
            start = time.ticks_us()
            sock.sendto(out, peer)
            network += since(start)
        datagram = None
        while datagram is None and now < wake:
            start = time.ticks_us()
            try:
                datagram = sock.recvfrom(_LONGEST)[0]
                network += since(start)
            except OSError:
                time.sleep_ms(1)
            now = time.ticks_diff(time.ticks_ms(), began)


def since(start: int) -> int:
    """Return how many us have passed."""
    return time.ticks_diff(time.ticks_us(), start)
