"""Who has sent what, for an audit log that is to name peers. A server that is not asked for it has none of this."""

import ipaddress
from collections.abc import Sequence

from dpe_server.net.link import Endpoint
from dpe_server.net.tap import Batches

SIZE_END = 8
"""Bytes of the end of a datagram, by which it is found again: of the MAC or the tag of its message."""
REMEMBERED = 65_536
"""The most datagrams whose senders are remembered, in some 10 MB. The oldest goes first."""


class Peers:
    """The senders of the last datagrams of one process, by the end of each. Of two that are alike, the later one."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._senders: dict[bytes, tuple[Batches, Endpoint]] = {}

    def note(self, batches: Batches, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        """Remember who has sent these datagrams."""
        senders = self._senders
        for datagram, endpoint in zip(datagrams, endpoints, strict=True):
            end = datagram[-SIZE_END:]
            senders.pop(end, None)  # so that it is the youngest
            senders[end] = batches, endpoint
        while len(senders) > self._remembered:
            del senders[next(iter(senders))]

    def of(self, end: bytes) -> str:
        """Return the address and the port from which the message with this end came, or an empty string."""
        found = self._senders.get(end)
        if found is None:
            return ""
        batches, endpoint = found
        packed, port, _ = batches.ends(endpoint)
        address = ipaddress.ip_address(packed)
        return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


class Noting:
    """Stands before a socket's system calls and has ``peers`` note who sends."""

    def __init__(self, batches: Batches, peers: Peers) -> None:
        self.full = batches.full
        self.source = batches.source
        self.ends = batches.ends
        self.send = batches.send
        self._batches = batches
        self._peers = peers

    def receive(self) -> tuple[list[bytes], list[Endpoint]]:
        """See ``Mmsg.receive``."""
        datagrams, endpoints = self._batches.receive()
        if datagrams:
            self._peers.note(self._batches, datagrams, endpoints)
        return datagrams, endpoints
