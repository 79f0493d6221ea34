"""The way of devices to several nodes: each device's datagrams go to one node, as behind a UDP balancer by source.

The devices know one address, and the nodes see the address of each device.
"""

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from dpe_tools.load.network import Address, Endpoint, Loopback, Received

KNOWN = ("192.0.2.1", 5683)
"""The address that the devices know; nobody has it."""


class Balancer(Loopback):
    """Devices on the loopback addresses, which have their turns at the ``nodes``, by their numbers."""

    def __init__(self, nodes: Sequence[Address]) -> None:
        super().__init__(socket.AF_INET, KNOWN)
        self.nodes: list[Address] = list(nodes)
        self.out: set[int] = set()
        """The nodes (by their place) that get nothing: theirs goes to the next one."""

    def node_of(self, number: int) -> int:
        """Return the place of the node to which the device with this number speaks."""
        first, count = number % len(self.nodes), len(self.nodes)
        turns = [(first + turn) % count for turn in range(count)]
        return next((place for place in turns if place not in self.out), first)

    def send(self, endpoint: Endpoint, datagram: bytes) -> None:
        """Send to the device's node."""
        self.send_to(self.node_of(endpoint.holder.device.number), endpoint, datagram)

    def send_to(self, node: int, endpoint: Endpoint, datagram: bytes) -> None:
        """Send to a node. A datagram that the kernel refuses is lost, like any other loss."""
        with suppress(OSError):
            endpoint.socket.sendmsg([datagram], endpoint.info, 0, self.nodes[node])

    def receive(self, ready: Iterable[socket.socket]) -> Iterator[Received]:
        """Yield what has come; what is from a device's node is from the one address that it knows."""
        for received in super().receive(ready):
            holder = received.endpoint.holder
            known = holder is not None and received.sender == self.nodes[self.node_of(holder.device.number)]
            yield received._replace(sender=KNOWN) if known else received
