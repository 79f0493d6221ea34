"""A CoAP endpoint for each registration under way, on a few sockets. On Linux every device has its own address.

On Linux, all addresses of 127.0.0.0/8 belong to this machine. So with a server on the IPv4 loopback each device has an
address there, and a socket that is bound to the wildcard address sends from all of them (IP_PKTINFO). Any other server
sees one address, and one port for each registration under way; there are then at most ``PORTS`` of them in a process.

The kernel says when it received a datagram, so a latency does not include the time in which a process was busy.
"""

import secrets
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

from dpe_tools import reach

SOCKETS = 8
"""How many sockets the devices of a process share, so that the receive buffers hold a burst."""
PORTS = 512
BUFFER = 4 << 20
"""Bytes of a receive buffer, as far as the system allows."""
BURST = 64
"""How many datagrams are read from a socket before another socket has its turn."""

# Numbers of Linux that Python does not name, or not in every version.
_IP_PKTINFO = 8
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_SOL_IP = (socket.IPPROTO_IP, _IP_PKTINFO)

_PACKET_INFO = struct.Struct("@I4s4s")  # interface, our address, destination (ip(7))
_TIMESPEC = struct.Struct("@ll")
_COUNT = struct.Struct("@I")
_FIRST_ADDRESS = 0x7F010000

Address = tuple[Any, ...]


class Endpoint:
    """An address from which a device sends. ``holder`` has it now; ``mid`` is the last message ID used there."""

    __slots__ = ("holder", "info", "mid", "socket")

    def __init__(self, socket: socket.socket, info: list[tuple[int, int, bytes]]) -> None:
        self.socket = socket
        self.info = info
        self.mid = secrets.randbelow(1 << 16)
        self.holder: Any = None


class Received(NamedTuple):
    """A datagram that came for an endpoint."""

    endpoint: Endpoint
    datagram: bytes
    sender: Address
    at: int
    """When the kernel received it, in ns of the monotonic clock."""


class Network:
    """The sockets of one process. ``peer`` is the server's address."""

    due: int | None = None
    """When there is something to receive although no socket is ready, in ns of the monotonic clock."""

    def __init__(self, family: int, peer: Address) -> None:
        self.peer = peer
        self.sockets: list[socket.socket] = []
        self._family = family
        self._overflowed: dict[socket.socket, int] = {}

    def __enter__(self) -> Self:
        """Return the network."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the sockets."""
        for one in self.sockets:
            one.close()

    @property
    def overflowed(self) -> int:
        """How many datagrams the kernel dropped because they were not read in time."""
        return sum(self._overflowed.values())

    def lease(self, number: int) -> Endpoint | None:
        """Return an endpoint for the device with this number, or None if none is free."""
        raise NotImplementedError

    def release(self, endpoint: Endpoint) -> None:
        """Take an endpoint back."""
        endpoint.holder = None

    def send(self, endpoint: Endpoint, datagram: bytes) -> None:
        """Send to the server. A datagram that the kernel refuses is lost, like any other loss."""
        try:
            endpoint.socket.sendmsg([datagram], endpoint.info, 0, self.peer)
        except OSError:
            return

    def receive(self, ready: Iterable[socket.socket]) -> Iterator[Received]:
        """Yield what has come to these sockets."""
        since_epoch = time.time_ns() - time.monotonic_ns()
        for one in ready:
            for _ in range(BURST):
                try:
                    datagram, ancillary, _, sender = one.recvmsg(2048, 256, socket.MSG_DONTWAIT)
                except OSError:  # drained, or there is no server
                    break
                at = time.monotonic_ns()
                destination = b""
                for _, kind, data in ancillary:
                    if kind == _IP_PKTINFO:
                        destination = data[8:]
                    elif kind == _SO_TIMESTAMPNS:
                        seconds, nanoseconds = _TIMESPEC.unpack(data)
                        at = seconds * 1_000_000_000 + nanoseconds - since_epoch
                    elif kind == _SO_RXQ_OVFL:
                        self._overflowed[one] = _COUNT.unpack(data)[0]
                endpoint = self._endpoint(one, destination)
                if endpoint is not None:
                    yield Received(endpoint, datagram, sender, at)

    def _endpoint(self, at: socket.socket, destination: bytes) -> Endpoint | None:
        raise NotImplementedError

    def _open(self) -> socket.socket:
        opened = socket.socket(self._family, socket.SOCK_DGRAM)
        self.sockets.append(opened)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if sys.platform == "linux":
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        return opened


class Loopback(Network):
    """Devices that have one address each, from 127.1.0.0 on."""

    def __init__(self, family: int, peer: Address) -> None:
        super().__init__(family, peer)
        self._endpoints: dict[bytes, Endpoint] = {}
        for _ in range(SOCKETS):
            opened = self._open()
            opened.setsockopt(*_SOL_IP, 1)
            opened.bind(("0.0.0.0", 0))  # noqa: S104  # what comes from elsewhere is not from the server

    def lease(self, number: int) -> Endpoint:
        """Return the device's endpoint."""
        address = (_FIRST_ADDRESS + number).to_bytes(4, "big")
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            info = [(*_SOL_IP, _PACKET_INFO.pack(0, address, address))]
            endpoint = self._endpoints[address] = Endpoint(self.sockets[number % SOCKETS], info)
        return endpoint

    def _endpoint(self, at: socket.socket, destination: bytes) -> Endpoint | None:
        return self._endpoints.get(destination)


class Ports(Network):
    """Devices that take turns on ports. The port that rested longest is next, so message IDs return late."""

    def __init__(self, family: int, peer: Address) -> None:
        super().__init__(family, peer)
        self._endpoints: dict[socket.socket, Endpoint] = {}
        for _ in range(PORTS):
            opened = self._open()
            opened.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104
            self._endpoints[opened] = Endpoint(opened, [])
        self._free = deque(self._endpoints.values())

    def lease(self, number: int) -> Endpoint | None:
        """Return a free endpoint."""
        return self._free.popleft() if self._free else None

    def release(self, endpoint: Endpoint) -> None:
        """Take an endpoint back."""
        super().release(endpoint)
        self._free.append(endpoint)

    def _endpoint(self, at: socket.socket, destination: bytes) -> Endpoint | None:
        return self._endpoints[at]


class Server(NamedTuple):
    """The address of a server."""

    uri: str
    family: int
    address: Address

    @classmethod
    def at(cls, uri: str) -> "Server":
        """Take the first address of ``coap://HOST[:PORT]``. Raises LocalError, or NoAnswer if no address is known."""
        return cls(uri, *reach.look_up(uri)[0])

    @classmethod
    def reached(cls, uri: str) -> "Server":
        """Take the address at which a CoAP server answers. Raises as ``at``, and NoAnswer if none answers."""
        return cls(uri, *reach.knock(uri, reach.look_up(uri)))

    def network(self) -> Network:
        """Return sockets towards it."""
        on_loopback = self.family == socket.AF_INET and self.address[0].startswith("127.") and sys.platform == "linux"
        return Loopback(self.family, self.address) if on_loopback else Ports(self.family, self.address)
