"""The board's application: it registers when it starts, if it is not registered yet, and then obeys its console.

The console takes lines: `provision CREDENTIAL`, the credential in CBOR and then in hex; `register` or `register 2`,
anew and with that suite; `report`, `deregister` and `course`, see reports.py; `measure WHAT HEAP`, of a registration
(1 or 2, the suite) or of reports (C or Python, the AES). Any other line asks for the state.

It is written for a small heap: what is needed once is not kept, no caller keeps a registration, and garbage is
collected before it spreads what is kept all over the heap.
"""

import gc
import os
import sys
from binascii import hexlify, unhexlify

import nonvolatile

# The modules by their full names: a name that is in the firmware takes no room in the heap.
import dpe_device.coap
import dpe_device.messages
import dpe_device.udp
from dpe_device.registration import REGISTERED, Registration

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_COLLECT_AFTER = const(1536)  # bytes
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Credential


def say(text: str) -> None:
    """Print a line."""
    print("board: " + text)


def trace(direction: str, datagram: bytes) -> None:
    """Say that a datagram was sent or received."""
    say("%s %d bytes" % (direction, len(datagram)))


def read_credential() -> "Credential":
    """Return the credential, which comes over the console first if the board has none."""
    from dpe_device.store import parse_credential

    while True:
        data = nonvolatile.load_credential()
        why = "waiting for one on the console"
        try:
            if data:
                return parse_credential(data)
        except ValueError as error:
            why = str(error)
        say("no credential: " + why)
        try:
            _, credential = sys.stdin.readline().split()
            nonvolatile.save_credential(unhexlify(credential))
        except ValueError:
            say("wanted: provision CREDENTIAL, in hex")


def tell(registration: "Registration") -> None:
    """Say how a registration is."""
    if registration.state == REGISTERED:
        say("REGISTERED, Client ID " + str(hexlify(registration.client_id), "ascii"))
    else:
        say("%s, status %s" % (registration.state, registration.status))


def obey(command: str, argument: str, credential: "Credential") -> None:
    """Do what a line of the console wants."""
    gc.collect()
    if command == "register":
        x25519 = None
        if "reports" in sys.modules:
            sys.modules["reports"].device = None  # it has the keys of the session before
        if argument == "2":
            from dpe_device import x25519
        tell(dpe_device.udp.register(credential, nonvolatile, x25519=x25519, suite=2 if x25519 else 1, trace=trace))
    elif command == "measure":
        what, _, heap = argument.partition(" ")
        if what in ("1", "2"):
            from measure import measure
        else:
            from measure_session import measure
        gc.threshold(-1)  # only when the heap is full
        say("measured " + measure(credential, what, int(heap)))
        gc.threshold(_COLLECT_AFTER)
    elif command in ("report", "deregister", "course"):
        import reports

        say("%s: %s" % (command, getattr(reports, command)(credential, argument)))
    else:
        tell(Registration(credential, nonvolatile, os.urandom))


def main() -> None:
    """Run until the power is cut."""
    print()  # ends the line that a reset has cut off
    credential = read_credential()
    del sys.modules["dpe_device.store"], dpe_device.store
    gc.collect()
    gc.threshold(_COLLECT_AFTER)
    say("heap: %d bytes, %d of them free" % (gc.mem_alloc() + gc.mem_free(), gc.mem_free()))
    state = Registration(credential, nonvolatile, os.urandom).state
    say("started, " + state)
    line = "" if state == REGISTERED else "register"
    while True:
        command, _, argument = line.partition(" ")
        obey(command, argument, credential)
        line = sys.stdin.readline().strip()


main()
