"""UDP sockets that answer from the address they were asked at, as CoAP requires (RFC 7252 section 5.3.2).

Datagrams come and go in batches. What was sent to a multicast or broadcast address is dropped here.
"""

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from dpe_coap.binding import DEFAULT_PORT
from dpe_coap.errors import LocalError
from dpe_server.net import mmsg, packet_info
from dpe_server.net.drain import Drain
from dpe_server.net.link import Endpoint, Received, Scheduling
from dpe_server.net.pcapng import Capture
from dpe_server.net.peers import Noting, Peers
from dpe_server.net.tap import Batches, Tap

LOOPBACK = (f"127.0.0.1:{DEFAULT_PORT}", f"[::1]:{DEFAULT_PORT}")
"""Where a server listens when it is not told where."""
RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes asked of the kernel for datagrams that wait to be read. It grants no more than net.core.rmem_max."""


class ListenError(LocalError):
    """The server cannot listen where it was told to."""


def parsed_address(text: str, default: int = DEFAULT_PORT) -> tuple[str, int]:
    """Read ``HOST:PORT``, ``[HOST]:PORT`` or a host alone, which has the ``default`` port; ListenError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default)
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 0xFFFF
    if not host or (":" in host) != bracketed or not is_port:
        raise ListenError(
            f"not an address to listen on: {text[:80]!r}",
            hint=f"write HOST:PORT, as in 0.0.0.0:{default} or [::]:{default}",
        )
    return host, int(port)


def authority(family: int, address: Any) -> str:
    """Return a socket's address as in a URI: host and port; an IPv6 address with its zone, if it has one."""
    host, port, *rest = address
    if family != socket.AF_INET6:
        return f"{host}:{port}"
    scope = rest[1] if "%" not in host else 0
    return f"[{host}{f'%{socket.if_indextoname(scope)}' if scope else ''}]:{port}"


class UdpSocket:
    """One bound socket. ``send`` works until ``close``; ``received`` is called from ``start`` to ``stop``.

    Datagrams are handed on in the order in which they came, or as a scheduler made by ``scheduling`` says.
    """

    def __init__(
        self, family: int, address: Any, *, shared: bool = False, scheduling: Scheduling | None = None
    ) -> None:
        """Bind to ``address``, with ``shared`` beside another socket of this program; OSError if that fails."""
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._received: Received | None = None
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            packet_info.enable(self._socket)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._socket.setblocking(False)
            if shared:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise
        self._batches: Batches
        self._batches = mmsg.Mmsg(self._socket.fileno(), family) if mmsg.AVAILABLE else Drain(self._socket)
        self._scheduling = scheduling
        self._scheduler = None if scheduling is None else scheduling(self._batches.full, self._batches.source)
        self._turn_comes = False

    @property
    def authority(self) -> str:
        """Host and port, as in a URI."""
        return authority(self._socket.family, self._socket.getsockname())

    @property
    def uri(self) -> str:
        """Where the socket answers."""
        return f"coap://{self.authority}"

    def another(self) -> "UdpSocket":
        """Return a further socket on the same address, or ListenError. The kernel spreads the peers among them."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # not sooner, or a port in use is shared
            return UdpSocket(self._socket.family, self._socket.getsockname(), shared=True, scheduling=self._scheduling)
        except OSError as error:
            raise listen_error(self.authority, error) from None

    def capture_to(self, capture: Capture, ended: Callable[[str], None]) -> None:
        """Write every datagram to ``capture``, until that ends; ``ended`` is told why."""
        self._batches = Tap(self._batches, self._socket.getsockname()[1], capture, ended)

    def note_to(self, peers: Peers) -> None:
        """Have ``peers`` note who sends what."""
        self._batches = Noting(self._batches, peers)

    def start(self, received: Received) -> None:
        """See ``Link.start``."""
        self._received = received
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def stop(self) -> None:
        """See ``Link.stop``."""
        if self._received is not None:
            self._received = None
            asyncio.get_running_loop().remove_reader(self._socket)

    def close(self) -> None:
        """See ``Link.close``."""
        self.stop()
        self._socket.close()

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        """See ``Link.send``."""
        if self._socket.fileno() >= 0:
            self._batches.send(datagrams, endpoints)

    def _read(self) -> None:
        datagrams: Sequence[bytes]
        endpoints: Sequence[Endpoint]
        datagrams, endpoints = self._batches.receive()
        scheduler = self._scheduler
        if scheduler is not None:
            datagrams, endpoints = scheduler.take(datagrams, endpoints, time.monotonic())
            if scheduler and not self._turn_comes:
                self._turn_comes = True
                asyncio.get_running_loop().call_soon(self._take_turn)
        if datagrams and self._received is not None:
            self._received(datagrams, endpoints)

    def _take_turn(self) -> None:
        self._turn_comes = False
        if self._received is not None:
            self._read()


def listen(addresses: Sequence[str] = (), *, scheduling: Scheduling | None = None) -> tuple[list[UdpSocket], list[str]]:
    """Bind a socket for each address (``HOST:PORT``, ``[HOST]:PORT`` or ``HOST``; port 0 takes a free one).

    With no addresses given, binds those of ``LOOPBACK`` that this machine has. ``scheduling``: see ``UdpSocket``.
    Returns the sockets, and a line of text for each address that was left out. Raises ListenError, with nothing left
    bound.
    """
    sockets: list[UdpSocket] = []
    left_out: list[str] = []
    try:
        for text in addresses or LOOPBACK:
            host, port = parsed_address(text)
            try:
                for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
                    sockets.append(UdpSocket(family, address, scheduling=scheduling))
            except ValueError:  # what cannot even be looked up
                raise listen_error(text, socket.gaierror()) from None
            except OSError as error:
                if addresses or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise listen_error(text, error) from None
                left_out.append(f"not listening on {text}: this machine does not have the address")
        if not sockets:
            raise ListenError("this machine has no loopback address", hint="name an address with --listen HOST:PORT")
    except ListenError:
        for bound in sockets:
            bound.close()
        raise
    return sockets, left_out


def listen_error(text: str, error: OSError, option: str = "--listen") -> ListenError:
    """Return what is told of an address on which nobody can listen; ``option`` of the command would name another."""
    if error.errno == errno.EADDRINUSE:
        return ListenError(
            f"cannot listen on {text}: the port is in use",
            hint=f"stop the other server, or choose another port with {option} HOST:PORT",
        )
    if error.errno == errno.EACCES:
        return ListenError(f"cannot listen on {text}: not permitted", hint="choose a port from 1024 on")
    if isinstance(error, socket.gaierror):
        return ListenError(f"cannot listen on {text}: no such host", hint="name an address of this machine")
    return ListenError(f"cannot listen on {text}: {error.strerror}", hint="name an address of this machine")
