"""A link without a socket: a test puts datagrams in, and reads the ones that come out."""

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from aiocoap.numbers.constants import TransportTuning

from dpe_server.net.link import Endpoint, Received


class FakeLink:
    """Stands for a socket."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Endpoint]] = []
        self.received: Received = _drop
        self.closed = False

    def start(self, received: Received) -> None:
        self.received = received

    def stop(self) -> None:
        self.received = _drop

    def close(self) -> None:
        self.stop()
        self.closed = True

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
        assert not self.closed
        self.sent += zip(datagrams, endpoints, strict=True)

    def put(self, *datagrams: bytes, endpoint: Endpoint = b"peer") -> None:
        """Let a batch of datagrams arrive from one endpoint."""
        self.received(datagrams, [endpoint] * len(datagrams))

    def taken(self) -> list[tuple[bytes, Endpoint]]:
        """Return what was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent


def _drop(datagrams: Sequence[bytes], endpoints: Sequence[Endpoint]) -> None:
    """Take no datagram."""


async def settle() -> None:
    """Run the event loop until no other task is left and nothing more happens by itself."""
    while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # a turn is what is waited for
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)


def never_separate() -> Any:
    """Give the aiocoap endpoint time. On a busy machine it would acknowledge first, and answer later."""
    return patch.object(TransportTuning, "EMPTY_ACK_DELAY", 60)
