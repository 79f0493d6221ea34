"""Registers many devices, one after the other and then again, in one process of MicroPython: its part of
`many_registrations.py`, which starts it.

    micropython many_devices.py CREDENTIALS REGISTRATIONS ACK_TIMEOUT BACKOFF DEADLINE     (the times in ms)

CREDENTIALS has a line of JSON for each device. Each registration begins with a boot, after which a device has only its
storage. A line is printed for each registration: the device's number, the attempt (from 1), the state, the Client ID
and the SHA-256 of the session's keys. A registration that does not end REGISTERED is tried again in a later round.
"""

import sys
from binascii import hexlify, unhexlify
from hashlib import sha256
from json import loads

here = __file__.rsplit("/", 1)[0]
sys.path.insert(0, here + "/../../device")

from dpe_device.registration import REGISTERED  # noqa: E402
from dpe_device.udp import register  # noqa: E402

_ROUNDS = 20


class Memory:
    """What a device keeps over a boot."""

    def __init__(self) -> None:
        self.record: bytes | None = None

    def load(self) -> "bytes | None":
        return self.record

    def save(self, record: bytes) -> None:
        self.record = record


def main(path: str, registrations: int, ack_timeout: int, backoff: int, deadline: int) -> None:
    """Do the registrations, then repeat the ones that failed."""
    with open(path) as file:  # noqa: PTH123  # MicroPython has no pathlib
        credentials = [loads(line) for line in file]
    for credential in credentials:
        for key in ("handle", "device_key"):
            credential[key] = unhexlify(credential[key])
    memories = [Memory() for _ in credentials]
    waiting = [number % len(credentials) for number in range(registrations)]
    for attempt in range(1, _ROUNDS + 1):
        failed = []
        for number in waiting:
            done = register(
                credentials[number],
                memories[number],
                ack_timeout=ack_timeout,
                backoff=backoff,
                deadline_ms=deadline,
            )
            line = [str(number), str(attempt), done.state]
            if done.state == REGISTERED:
                keys = sha256(b"".join(done.oscore or ())).digest()
                line += [hexlify(done.client_id or b"").decode(), hexlify(keys).decode()]
            else:
                failed.append(number)
            print(*line)
        if not failed:
            return
        waiting = failed


main(sys.argv[1], *map(int, sys.argv[2:]))
