"""The board's application: it registers when it starts, if it is not registered yet, and then obeys its console.

The console takes lines: `provision CREDENTIAL SEED`, both in hex, the credential in CBOR; `register` or `register 2`,
anew and with that suite.
"""

import gc
import sys
from binascii import hexlify, unhexlify

import entropy
import socket
import vfs
from dpe_device import x25519
from dpe_device.registration import REGISTERED, Registration
from dpe_device.store import FileStore, load_credential
from dpe_device.udp import register
from ipv4 import Host
from lan9118 import Lan9118
from nonvolatile import NonVolatile

CREDENTIAL = "credential.cbor"
SEED = FileStore("seed")
STATE = FileStore("state")


def say(text: str) -> None:
    print("board: " + text)


def mount() -> None:
    device = NonVolatile()
    options = {"readsize": 16, "progsize": 16, "lookahead": 16}  # littlefs's buffers are as small as these
    try:
        file_system = vfs.VfsLfs2(device, **options)
    except OSError:
        vfs.VfsLfs2.mkfs(device, **options)
        file_system = vfs.VfsLfs2(device, **options)
        say("the memory was blank, and has a file system now")
    vfs.mount(file_system, "/")


def provision() -> None:
    say("no credential: waiting for one on the console")
    words = sys.stdin.readline().split()
    SEED.save(unhexlify(words[2]))
    FileStore(CREDENTIAL).save(unhexlify(words[1]))
    say("provisioned")


def trace(direction: str, datagram: bytes) -> None:
    say("%s %d bytes" % (direction, len(datagram)))


def main() -> None:
    mount()
    try:
        credential = load_credential(CREDENTIAL)
    except OSError:
        provision()
        credential = load_credential(CREDENTIAL)
    entropy.start(SEED)
    socket.host = Host(Lan9118(0x40200000), b"\x0a\0\2\x0f", b"\x0a\0\2\2")
    registration = Registration(credential, STATE, entropy.urandom)
    say("started, " + registration.state)
    suite = 1 if registration.state != REGISTERED else 0
    while True:
        if suite:
            registration = None
            gc.collect()
            registration = register(credential, STATE, x25519=x25519, suite=suite, trace=trace)
        if registration.state == REGISTERED:
            say("REGISTERED, Client ID " + str(hexlify(registration.client_id), "ascii"))
        else:
            say("%s, status %s" % (registration.state, registration.status))
        words = sys.stdin.readline().split()
        suite = 0
        if words[:1] == ["register"]:
            suite = int(words[1]) if words[1:] else 1
        elif words[:1] == ["measure"]:
            from measure import measure

            gc.collect()
            say("measured " + measure(credential, int(words[1]), int(words[2])))



main()
