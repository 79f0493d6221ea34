"""The contracts between what brings datagrams, what says which are next, and what answers them.

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


class Scheduler(Protocol):
    """Says which datagrams of one socket are handed on now. The others wait with it, or are lost."""

    def __len__(self) -> int:
        """How many datagrams wait."""

    def take(
        self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint], now: float
    ) -> tuple[Sequence[bytes], Sequence[Endpoint]]:
        """Return what is handed on now that this batch has come (``now`` in monotonic seconds).

        While datagrams wait it is called again, with an empty batch if need be.
        """


Scheduling = Callable[[int, slice], Scheduler]
"""Makes a socket's scheduler. The first argument is the size of a full batch, after which there may be more to read.
The second is the part of an endpoint that tells one host or network from another."""
