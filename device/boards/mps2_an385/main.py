"""The board's application: it registers when it starts, if it is not registered yet, and then obeys its console.

The console takes lines: `provision CREDENTIAL SEED`, both in hex, the credential in CBOR; `register` or `register 2`,
anew and with that suite; `measure SUITE HEAP`, see measure.py.
"""

import gc
import socket
import sys
from binascii import hexlify, unhexlify

import entropy
import vfs
from ipv4 import Host
from lan9118 import Lan9118
from nonvolatile import NonVolatile

from dpe_device import x25519
from dpe_device.registration import REGISTERED, Registration
from dpe_device.store import FileStore, load_credential
from dpe_device.udp import register

const = int  # MicroPython's compiler folds `_NAME = const(..)` away; CPython calls it
_TYPING = const(0)
if _TYPING:
    from dpe_device._types import Credential

_LAN9118 = const(0x40200000)
_CREDENTIAL = "credential.cbor"
_SEED = FileStore("seed")
_STATE = FileStore("state")


def say(text: str) -> None:
    """Print a line."""
    print("board: " + text)


def trace(direction: str, datagram: bytes) -> None:
    """Say that a datagram was sent or received."""
    say("%s %d bytes" % (direction, len(datagram)))


def mount() -> None:
    """Mount the file system of the non-volatile memory, and make it first if there is none."""
    device = NonVolatile()
    sizes = {"readsize": 16, "progsize": 16, "lookahead": 16}  # littlefs has buffers of a few times that
    try:
        file_system = vfs.VfsLfs2(device, **sizes)
    except OSError:
        vfs.VfsLfs2.mkfs(device, **sizes)
        file_system = vfs.VfsLfs2(device, **sizes)
        say("the memory was blank, and has a file system now")
    vfs.mount(file_system, "/")


def read_credential() -> "Credential":
    """Return the credential, which comes over the console first if the board has none."""
    while True:
        try:
            return load_credential(_CREDENTIAL)
        except OSError:
            say("no credential: waiting for one on the console")
        except ValueError as error:
            say("no credential: %s" % error)
        try:
            _, credential, seed = sys.stdin.readline().split()
            _SEED.save(unhexlify(seed))
            FileStore(_CREDENTIAL).save(unhexlify(credential))
        except ValueError:
            say("wanted: provision CREDENTIAL SEED, both in hex")


def main() -> None:
    """Run until the power is cut."""
    print()  # ends the line that a reset has cut off
    mount()
    credential = read_credential()
    entropy.start(_SEED)
    socket.host = Host(Lan9118(_LAN9118), b"\x0a\0\2\x0f", b"\x0a\0\2\2")  # as QEMU's user network has it
    registration = Registration(credential, _STATE, entropy.urandom)
    say("started, " + registration.state)
    wanted = registration.state != REGISTERED
    suite = 1
    while True:
        if wanted:
            registration = None
            gc.collect()
            registration = register(credential, _STATE, x25519=x25519, suite=suite, trace=trace)
        if registration.state == REGISTERED:
            say("REGISTERED, Client ID " + str(hexlify(registration.client_id), "ascii"))
        else:
            say("%s, status %s" % (registration.state, registration.status))
        words = sys.stdin.readline().split()
        wanted = words[:1] == ["register"]
        suite = 2 if words[1:2] == ["2"] else 1
        if words[:1] == ["measure"]:
            from measure import measure

            say("measured " + measure(credential, suite, int(words[2])))


main()
