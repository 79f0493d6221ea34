"""The simulated sockets of a server's processes, and how a process uses its own."""

from collections import deque
from collections.abc import Callable, Sequence

from dpe_server.net.link import Endpoint, Received
from dpe_tools.simulation.events import Address

BUFFER = 64
"""The most datagrams that wait in a socket."""


class Socket:
    """What the kernel keeps of a process's socket; it outlives the process."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, Address]] = deque(maxlen=BUFFER)
        self.woken: Callable[[], None] = lambda: None

    def receive(self, datagram: bytes, sender: Address) -> None:
        """Take a datagram from the network."""
        self.waiting.append((datagram, sender))
        if len(self.waiting) == 1:
            self.woken()


class SocketLink:
    """A ``Link`` of the server, over a simulated socket.

    ``wake`` calls a function a little later; ``send`` sends a datagram; ``read`` is told of each datagram that is read.
    """

    def __init__(
        self,
        socket: Socket,
        wake: Callable[[Callable[[], None]], object],
        send: Callable[[bytes, Address], None],
        read: Callable[[bytes, Address], None] | None = None,
    ) -> None:
        self._socket = socket
        self._wake = wake
        self._send = send
        self._told = read
        self._received: Received | None = None

    def start(self, received: Received) -> None:
        """See ``Link.start``."""
        self._received = received
        self._socket.woken = self._woken
        if self._socket.waiting:
            self._woken()

    def stop(self) -> None:
        """See ``Link.stop``."""
        self._socket.woken = lambda: None
        self._received = None

    def close(self) -> None:
        """See ``Link.close``."""
        self.stop()

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        """See ``Link.send``."""
        for datagram, endpoint in zip(datagrams, endpoints, strict=True):
            self._send(datagram, _address(endpoint))

    def _woken(self) -> None:
        self._wake(self._read)

    def _read(self) -> None:
        if self._received is None:
            return
        waiting, self._socket.waiting = list(self._socket.waiting), deque(maxlen=BUFFER)
        if self._told is not None:
            for datagram, sender in waiting:
                self._told(datagram, sender)
        if waiting:
            self._received([datagram for datagram, _ in waiting], [_endpoint(sender) for _, sender in waiting])


def _endpoint(address: Address) -> Endpoint:
    return f"{address[0]}:{address[1]}".encode()


def _address(endpoint: Endpoint) -> Address:
    host, _, port = endpoint.decode().rpartition(":")
    return host, int(port)
