"""The contract between what brings datagrams, such as a socket, and what answers them.

Datagrams come and go in batches.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

Endpoint = bytes
"""A peer and the address of ours that it uses: opaque, and equal for the same two."""
Received = Callable[[Sequence[bytes], Sequence[Endpoint]], None]
"""Called with the datagrams of a batch and the endpoint that each came from."""


class Link(Protocol):
    """Where datagrams come from and go to: a socket, or what stands before one."""

    def start(self, received: Received) -> None:
        """Call ``received`` with each batch from now on, in the running event loop."""

    def stop(self) -> None:
        """Receive no more."""

    def close(self) -> None:
        """Receive no more, and free the port."""

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        """Send each datagram to its endpoint, as far as the kernel takes them now: the rest is lost like any other."""
