"""What every device of a crowd knows, noted independently from the datagrams that it sends and receives.

This is the Client ID and the keys of its registration, the bytes of SUCCESS and CONFIRM, and the Client IDs that it has
tried to confirm since then.
"""

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from dpe_coap.numbers import SIZE_CLIENT_ID
from dpe_tools.load.bad_link import BadLink
from dpe_tools.load.ledger import Ledger
from dpe_tools.load.network import Address, Endpoint, Network, Received
from tests import coap

SUCCESS = b"\xa4\x00\x03\x03\x47"
"""The beginning of a SUCCESS, which has 32 bytes. The Client ID comes next."""
SIZE_SUCCESS = 32


@dataclass(slots=True)
class Known:
    """What a device knows once it was REGISTERED."""

    client_id: bytes
    keys: tuple[bytes, bytes] = field(repr=False)
    success: bytes = field(repr=False)
    confirm: bytes = field(repr=False)
    between: tuple[float, float]
    """When the session was established, by the server's wall clock: after SUCCESS was sent, before CONFIRM came."""
    since: set[bytes] = field(default_factory=set)
    """The Client IDs of every SUCCESS that the device has sent since. The server may have accepted them."""


class Witness(Ledger):
    """What every device knows, by its number."""

    def __init__(self, wall: Callable[[], float]) -> None:
        super().__init__()
        self.known: dict[int, Known] = {}
        self.sent: dict[int, dict[int, bytes]] = {}
        """The last datagram of each device by its size, which differs between REQUEST and SUCCESS."""
        self._wall = wall
        self._said: dict[int, tuple[bytes, float]] = {}
        self._heard: dict[int, bytes] = {}

    def said(self, number: int, datagram: bytes) -> None:
        """Note what a device sends."""
        self.sent.setdefault(number, {})[len(datagram)] = datagram
        payload = datagram[-SIZE_SUCCESS:]
        if payload.startswith(SUCCESS):
            if self._said.get(number, (b"", 0.0))[0] != payload:
                self._said[number] = payload, self._wall()
            if number in self.known:
                self.known[number].since.add(payload[len(SUCCESS) :][:SIZE_CLIENT_ID])

    def heard(self, number: int, datagram: bytes) -> None:
        """Note what a device receives."""
        self._heard[number] = datagram

    def registered(self, number: int, client_id: bytes, keys: tuple[bytes, bytes]) -> None:
        """See ``Ledger.registered``. The last datagram was CONFIRM, and it answers the last SUCCESS."""
        success, sent = self._said[number]
        confirm = coap.Message.parse(self._heard[number]).payload
        self.known[number] = Known(client_id, keys, success, confirm, (sent, self._wall()))

    def failed(self, number: int) -> None:
        """See ``Ledger.failed``. The device still knows what it knew."""


class Overheard:
    """A network that shows the witness every datagram of the devices."""

    def __init__(self, network: Network | BadLink, witness: Witness) -> None:
        self._network = network
        self._witness = witness
        self.lease = network.lease
        self.release = network.release

    @property
    def peer(self) -> Address:
        return self._network.peer

    @property
    def due(self) -> int | None:
        return self._network.due

    def send(self, endpoint: Endpoint, datagram: bytes) -> None:
        self._witness.said(endpoint.holder.device.number, datagram)
        self._network.send(endpoint, datagram)

    def receive(self, ready: Iterable[socket.socket]) -> Iterator[Received]:
        for received in self._network.receive(ready):
            if received.endpoint.holder is not None:
                self._witness.heard(received.endpoint.holder.device.number, received.datagram)
            yield received
