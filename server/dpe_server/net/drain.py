"""One datagram per system call, where there is no recvmmsg(2): recvmsg(2) until the socket is drained; sendmsg(2)."""

import socket
import struct
from collections.abc import Sequence
from typing import Any

from dpe_server.net import packet_info
from dpe_server.net.link import Endpoint

_ADDRESS = struct.Struct("=16sHII")  # address, port, flow information, scope


class Drain:
    """Receives and sends one datagram per system call, where there is no recvmmsg."""

    full = 64
    """See ``Mmsg.full``: datagrams read one by one before the event loop turns."""

    def __init__(self, bound: socket.socket) -> None:
        self.source = slice(0, 4 if bound.family == socket.AF_INET else 8)
        """See ``Mmsg.source``."""
        self._socket = bound
        self._buffer = bytearray(0xFFFF)

    def receive(self) -> tuple[list[bytes], list[Endpoint]]:
        """See ``Mmsg.receive``."""
        datagrams: list[bytes] = []
        endpoints: list[Endpoint] = []
        for _ in range(self.full):
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([self._buffer], 128)
            except OSError:  # drained, or an error that the kernel kept for this socket
                break
            for _, _, data in ancillary:
                info = packet_info.for_reply(self._socket.family, data)
                if info is not None:
                    datagrams.append(bytes(memoryview(self._buffer)[:size]))
                    endpoints.append(self._pack(address) + info)
        return datagrams, endpoints

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        """See ``Mmsg.send``."""
        kind = packet_info.KIND[self._socket.family]
        for datagram, endpoint in zip(datagrams, endpoints, strict=True):
            try:
                self._socket.sendmsg(
                    [datagram], [(*kind, endpoint[_ADDRESS.size :])], 0, self._unpack(endpoint[: _ADDRESS.size])
                )
            except OSError:
                continue

    def ends(self, endpoint: Endpoint) -> tuple[bytes, int, bytes]:
        """See ``Mmsg.ends``."""
        family = self._socket.family
        host, port, *_ = _ADDRESS.unpack(endpoint[: _ADDRESS.size])
        return (
            host[: 4 if family == socket.AF_INET else 16],
            port,
            packet_info.own_address(family, endpoint[_ADDRESS.size :]),
        )

    def _pack(self, address: Any) -> bytes:
        host, port, flow, scope = (*address, 0, 0)[:4]
        return _ADDRESS.pack(socket.inet_pton(self._socket.family, host.partition("%")[0]), port, flow, scope)

    def _unpack(self, packed: bytes) -> Any:
        host, *rest = _ADDRESS.unpack(packed)
        if self._socket.family == socket.AF_INET6:
            return socket.inet_ntop(socket.AF_INET6, host), *rest
        return socket.inet_ntop(socket.AF_INET, host[:4]), rest[0]
