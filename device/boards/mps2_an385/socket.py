"""UDP sockets for this board: as much of MicroPython's `socket` as the DPE Client uses. Addresses are numeric.

Only one is to be open at a time: each takes what comes for the others out of the network.
"""

import time

_TYPING = 0
if _TYPING:
    from dpe_device._types import Any

AF_INET = 2
SOCK_DGRAM = 2

_EAGAIN = 11
_ETIMEDOUT = 110

host: "Any" = None
"""The network, an ipv4.Host, to be set before a datagram is sent."""


def getaddrinfo(name: str, port: int, family: int = 0, kind: int = 0) -> "list[tuple[int, int, int, str, bytes]]":
    """Return the address of a.b.c.d, packed with the port; OSError for a name, as there is no name service."""
    try:
        packed = bytes(map(int, name.split(".")))
        if len(packed) != 4:
            raise ValueError
    except ValueError:
        raise OSError(-2) from None
    return [(AF_INET, SOCK_DGRAM, 0, "", packed + port.to_bytes(2, "big"))]


class socket:  # noqa: N801
    """A UDP socket with a port of its own."""

    def __init__(self, family: int = AF_INET, kind: int = SOCK_DGRAM) -> None:
        self._port = 0xC000 | time.ticks_us() & 0x3FFF  # RFC 6335's dynamic ports
        self._timeout: "int | None" = None

    def settimeout(self, seconds: "float | None") -> None:
        """Set how long `recvfrom` waits; None is for ever."""
        self._timeout = None if seconds is None else int(seconds * 1000)

    def sendto(self, datagram: bytes, address: bytes) -> int:
        """Send a datagram to an address from `getaddrinfo`; OSError if it cannot be sent."""
        host.send(self._port, address, datagram)
        return len(datagram)

    def recvfrom(self, most: int) -> "tuple[bytes, bytes]":
        """Return a datagram, cut off at `most` bytes, and its sender; OSError when the time is up."""
        start = time.ticks_ms()
        while True:
            received = host.receive(self._port)
            if received:
                return received[0][:most], received[1]
            if self._timeout is not None and time.ticks_diff(time.ticks_ms(), start) >= self._timeout:
                raise OSError(_ETIMEDOUT if self._timeout else _EAGAIN)
            time.sleep_ms(1)

    def close(self) -> None:
        """Do nothing: the port is not listened on when nobody receives."""
