"""Registers the devices of a file, one after the other, with the client that is given. It runs on MicroPython.

    micropython -m CLIENT FILE HOST PORT ACK_TIMEOUT LIMIT

FILE has a line for each device: realm, handle and device key, the last two in hex. ACK_TIMEOUT is in ms; what LIMIT
limits is the client's to say. For each device a line is printed: the Client ID with which it is registered, or `-`,
and how many datagrams the client's CoAP layer took for a response.
"""

import sys
from binascii import hexlify, unhexlify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # realm, handle, device key, host, port, ACK_TIMEOUT, LIMIT
    Client = Callable[[str, bytes, bytes, str, int, int, int], tuple[bytes | None, int]]


def run(register: "Client") -> None:
    """Register all; `register` returns the Client ID, if there is one, and that count."""
    host = sys.argv[2]
    port, ack_timeout, limit = map(int, sys.argv[3:6])
    with open(sys.argv[1]) as file:  # noqa: PTH123  # MicroPython has no pathlib
        for line in file:
            realm, handle, key = line.split()
            client_id, taken = register(realm, unhexlify(handle), unhexlify(key), host, port, ack_timeout, limit)
            print(str(hexlify(client_id), "ascii") if client_id else "-", taken)
