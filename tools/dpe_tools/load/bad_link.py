"""A network that loses, duplicates, delays and damages what the devices send and receive."""

import heapq
import itertools
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from dpe_tools.faults import Copy, Faults, FaultyLink
from dpe_tools.load.network import Address, Endpoint, Network, Received


class BadLink:
    """A ``Network`` with ``faults``, which ``seed`` repeats if the datagrams come in the same order."""

    def __init__(self, network: Network, faults: Faults, seed: str) -> None:
        self._network = network
        self._link = FaultyLink(faults, seed)
        self._held: list[tuple[int, int, bool, Received]] = []
        self._count = itertools.count()
        self.faults: Counter[str] = Counter()
        """How often each fault struck."""

    @property
    def peer(self) -> Address:
        """The server's address."""
        return self._network.peer

    @property
    def due(self) -> int | None:
        """When ``receive`` has something to do although no socket is ready, in ns of the monotonic clock."""
        return self._held[0][0] if self._held else None

    def lease(self, number: int) -> Endpoint | None:
        """See ``Network.lease``."""
        return self._network.lease(number)

    def release(self, endpoint: Endpoint) -> None:
        """See ``Network.release``."""
        self._network.release(endpoint)

    def send(self, endpoint: Endpoint, datagram: bytes) -> None:
        """Send what the link leaves of a datagram, perhaps later."""
        for copy in self._carry(datagram):
            if copy.delay:
                self._hold(copy, endpoint, (), sent=True)
            else:
                self._network.send(endpoint, copy.datagram)

    def receive(self, ready: Iterable[socket.socket]) -> Iterator[Received]:
        """Yield what the link leaves of the datagrams at these sockets, and delayed ones; send delayed ones, too."""
        for received in self._network.receive(ready):
            for copy in self._carry(received.datagram):
                if copy.delay:
                    self._hold(copy, received.endpoint, received.sender, sent=False)
                else:
                    yield received._replace(datagram=copy.datagram)
        while self._held and self._held[0][0] <= time.monotonic_ns():
            _, _, sent, held = heapq.heappop(self._held)
            if sent:
                self._network.send(held.endpoint, held.datagram)
            else:
                yield held

    def _carry(self, datagram: bytes) -> list[Copy]:
        copies = self._link.carry(datagram)
        self.faults["lost"] += not copies
        self.faults["doubled"] += len(copies) > 1
        self.faults["delayed"] += sum(copy.delay > 0 for copy in copies)
        self.faults["damaged"] += sum(copy.datagram != datagram for copy in copies)
        return copies

    def _hold(self, copy: Copy, endpoint: Endpoint, sender: Address, *, sent: bool) -> None:
        at = time.monotonic_ns() + int(copy.delay * 1e9)
        heapq.heappush(self._held, (at, next(self._count), sent, Received(endpoint, copy.datagram, sender, at)))
