"""What the exchanges of a session cost the processor and the heap, counted as measure.py counts a registration."""

import gc
import socket
from os import urandom

from heap import fill
from measure import Memory, drive
from reports import aes_in_c, properties

from dpe_device import aes
from dpe_device.reporter import Reporter
from dpe_device.session import READY, Session
from dpe_device.udp import resolve

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Credential

_REPORT = const(2)


def measure(credential: "Credential", kind: str, heap: int) -> str:
    """Register with about `heap` bytes of the heap free, and report twice; return what that took, or why not.

    `kind` is how AES is made: C or Python.
    """
    found = resolve(credential["server"])[0]
    sock, peer = socket.socket(found[0], socket.SOCK_DGRAM), found[-1]
    sock.settimeout(0)
    _taken = fill(heap)
    free = gc.mem_free()
    try:
        session = Session(credential, Memory(), urandom)
        session.aes = aes_in_c if kind == "C" else aes.AES
        reporter = session.reporter = Reporter()
        drive(session, READY, sock, peer)
        took = ""
        for number in range(2):
            reporter.values.update(properties(number))
            session.want(_REPORT)
            took += "%d us, and %d us for the network; " % drive(session, READY, sock, peer)
        return took + "with a heap of %d bytes" % free
    except MemoryError:
        return "nothing: a heap of %d bytes is too small" % free
    except OSError:
        return "nothing: the server did not accept this board"
    finally:
        sock.close()
