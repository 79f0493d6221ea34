"""What stands before a socket's system calls when its datagrams are captured. A socket that is not has none of it."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from dpe_server.net.link import Endpoint
from dpe_server.net.pcapng import Capture, CaptureError, End, Packet


class Batches(Protocol):
    """What brings and sends the datagrams of one socket: ``Mmsg`` or ``Drain``."""

    full: int
    source: slice

    def receive(self) -> tuple[list[bytes], list[Endpoint]]: ...  # noqa: D102
    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None: ...  # noqa: D102
    def ends(self, endpoint: Endpoint) -> tuple[bytes, int, bytes]: ...  # noqa: D102


class Tap:
    """Writes what passes to ``capture``, and goes on without when it ends: ``ended`` is told why, once.

    ``port`` is the socket's own.
    """

    def __init__(self, batches: Batches, port: int, capture: Capture, ended: Callable[[str], None]) -> None:
        self.full = batches.full
        self.source = batches.source
        self.ends = batches.ends
        self._batches = batches
        self._port = port
        self._capture = capture
        self._ended = ended

    def receive(self) -> tuple[list[bytes], list[Endpoint]]:
        """See ``Mmsg.receive``."""
        datagrams, endpoints = self._batches.receive()
        self._write(datagrams, endpoints, inbound=True)
        return datagrams, endpoints

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        """See ``Mmsg.send``."""
        self._batches.send(datagrams, endpoints)
        self._write(datagrams, endpoints, inbound=False)

    def _write(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint], *, inbound: bool) -> None:
        if not datagrams or self._capture.closed:
            return
        try:
            self._capture.write(map(self._packet, datagrams, endpoints, [inbound] * len(datagrams)), _now())
        except CaptureError as error:
            self._ended(str(error))

    def _packet(self, datagram: bytes, endpoint: Endpoint, inbound: bool) -> Packet:
        address, port, own = self.ends(endpoint)
        peer, here = End(address, port), End(own, self._port)
        return Packet(peer, here, datagram, inbound) if inbound else Packet(here, peer, datagram, inbound)


def _now() -> int:
    """Return microseconds since the beginning of 1970."""
    return time.time_ns() // 1000
