"""UDP sockets that answer from the address they were asked at, as CoAP wants (RFC 7252 section 5.3.2).

A socket bound to the unspecified address learns each datagram's destination from the kernel (IP_PKTINFO, RFC 3542) and
puts it on the reply. What was sent to a multicast or broadcast address is dropped here.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dpe_coap.binding import DEFAULT_PORT
from dpe_coap.errors import LocalError

LOOPBACK = (f"127.0.0.1:{DEFAULT_PORT}", f"[::1]:{DEFAULT_PORT}")
"""Where a server listens when it is not told."""

_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Linux's number; Python names it from 3.14 on
_IN_PKTINFO = struct.Struct("@I4s4s")  # interface, our address, destination (ip(7))
_IN6_PKTINFO = struct.Struct("@16sI")  # destination, interface (RFC 3542 section 6.1)
_LINK_LOCAL = b"\xfe\x80"
_DRAIN = 64  # datagrams read before the event loop turns: they become one batch


class Peer(NamedTuple):
    """The other side of an exchange."""

    address: tuple[str, int] | tuple[str, int, int, int]
    local: bytes
    """Our own address that it uses, as the ancillary data of a reply."""


class ListenError(LocalError):
    """The server cannot listen where it was told to."""


def _parse(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, ``[HOST]:PORT`` or a host alone."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 0xFFFF
    if not host or (":" in host) != bracketed or not is_port:
        raise ListenError(
            f"not an address to listen on: {text[:80]!r}",
            hint=f"write HOST:PORT, as in 0.0.0.0:{DEFAULT_PORT} or [::]:{DEFAULT_PORT}",
        )
    return host, int(port)


class UdpSocket:
    """One bound socket. ``send`` works until ``close``; ``received`` is called from ``start`` to ``stop``."""

    def __init__(self, family: int, address: tuple[str, int] | tuple[str, int, int, int]) -> None:
        """Bind to ``address``; OSError when that cannot be."""
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._buffer = bytearray(0xFFFF)
        self._received: Callable[[bytes, Peer], None] | None = None
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            self._socket.setblocking(False)
            self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise

    @property
    def authority(self) -> str:
        """Host and port, as in a URI."""
        host, port, *_ = self._socket.getsockname()
        return f"[{host}]:{port}" if self._socket.family == socket.AF_INET6 else f"{host}:{port}"

    def start(self, received: Callable[[bytes, Peer], None]) -> None:
        """Call ``received`` with each datagram from now on, in the running event loop."""
        self._received = received
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def stop(self) -> None:
        """Receive no more."""
        if self._received is not None:
            self._received = None
            asyncio.get_running_loop().remove_reader(self._socket)

    def close(self) -> None:
        """Receive no more, and free the port."""
        self.stop()
        self._socket.close()

    def send(self, datagram: bytes, peer: Peer) -> None:
        """Send if the kernel takes it now. A datagram that it refuses is lost like any other: the peer asks again."""
        level, kind = (
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
            if self._socket.family == socket.AF_INET6
            else (socket.IPPROTO_IP, _IP_PKTINFO)
        )
        try:
            self._socket.sendmsg([datagram], [(level, kind, peer.local)], 0, peer.address)
        except OSError:
            return

    def _read(self) -> None:
        for _ in range(_DRAIN):
            if self._received is None:
                return
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([self._buffer], 128)
            except OSError:  # drained, or an error that the kernel kept for this socket
                return
            for _level, _kind, data in ancillary:
                local = self._reply_from(data)
                if local is not None:
                    self._received(bytes(memoryview(self._buffer)[:size]), Peer(address, local))

    def _reply_from(self, packet_info: bytes) -> bytes | None:
        """Return the ancillary data for a reply; None when the destination was not an address of one host."""
        if self._socket.family == socket.AF_INET6:
            destination, interface = _IN6_PKTINFO.unpack_from(packet_info)
            if destination[0] == 0xFF:
                return None
            # The routing table chooses the way back, except where the address means nothing without its interface.
            return _IN6_PKTINFO.pack(destination, interface if destination.startswith(_LINK_LOCAL) else 0)
        _, own, destination = _IN_PKTINFO.unpack_from(packet_info)
        return _IN_PKTINFO.pack(0, own, bytes(4)) if own == destination else None


def listen(addresses: Sequence[str] = ()) -> tuple[list[UdpSocket], list[str]]:
    """Bind a socket for each address (``HOST:PORT``, ``[HOST]:PORT`` or ``HOST``; port 0 takes a free one).

    With no addresses given, binds those of ``LOOPBACK`` that this machine has. Returns the sockets, and a line of text
    for each address that was left out. Raises ListenError, with nothing left bound.
    """
    sockets: list[UdpSocket] = []
    left_out: list[str] = []
    try:
        for text in addresses or LOOPBACK:
            host, port = _parse(text)
            try:
                for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
                    sockets.append(UdpSocket(family, address))  # type: ignore[arg-type]
            except ValueError:  # what cannot even be looked up
                raise _explain(text, socket.gaierror()) from None
            except OSError as error:
                if addresses or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise _explain(text, error) from None
                left_out.append(f"not listening on {text}: this machine does not have the address")
        if not sockets:
            raise ListenError("this machine has no loopback address", hint="name an address with --listen HOST:PORT")
    except ListenError:
        for bound in sockets:
            bound.close()
        raise
    return sockets, left_out


def _explain(text: str, error: OSError) -> ListenError:
    if error.errno == errno.EADDRINUSE:
        return ListenError(
            f"cannot listen on {text}: the port is in use",
            hint="stop the other server, or choose another port with --listen HOST:PORT",
        )
    if error.errno == errno.EACCES:
        return ListenError(f"cannot listen on {text}: not permitted", hint="choose a port from 1024 on")
    if isinstance(error, socket.gaierror):
        return ListenError(f"cannot listen on {text}: no such host", hint="name an address of this machine")
    return ListenError(f"cannot listen on {text}: {error.strerror}", hint="name an address of this machine")
