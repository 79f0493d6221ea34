"""Which of our addresses a datagram was sent to, and how to answer from it (ip(7); RFC 3542 section 6).

A socket bound to the unspecified address learns each datagram's destination from the kernel as ancillary data of one
level and type, and puts data of the same level and type on the reply.
"""

import socket
import struct

_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Linux's number; Python names it from 3.14 on
_IN_PKTINFO = struct.Struct("@I4s4s")  # interface, our address, destination
_IN6_PKTINFO = struct.Struct("@16sI")  # destination, interface
_LINK_LOCAL = b"\xfe\x80"

SIZE = {socket.AF_INET: _IN_PKTINFO.size, socket.AF_INET6: _IN6_PKTINFO.size}
"""Bytes of the data, by address family."""
KIND = {
    socket.AF_INET: (socket.IPPROTO_IP, _IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
}
"""Level and type of the data, by address family."""


def enable(bound: socket.socket) -> None:
    """Have the kernel tell the destination of each datagram."""
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def own_address(family: int, info: bytes) -> bytes:
    """Return our address in the data of a reply: 4 or 16 bytes."""
    return info[:16] if family == socket.AF_INET6 else info[4:8]


def for_reply(family: int, received: bytes) -> bytes | None:
    """Return the data for a reply; None when the destination was not an address of one host.

    The routing table chooses the way back, except where the address means nothing without its interface.
    """
    if family == socket.AF_INET6:
        destination, interface = _IN6_PKTINFO.unpack_from(received)
        if destination[0] == 0xFF:
            return None
        return _IN6_PKTINFO.pack(destination, interface if destination.startswith(_LINK_LOCAL) else 0)
    _, own, destination = _IN_PKTINFO.unpack_from(received)
    return _IN_PKTINFO.pack(0, own, bytes(4)) if own == destination else None
