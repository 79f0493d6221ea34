"""The server's message layer without the lane, which is aiocoap's: a duplicate is answered as the first was."""

from dataclasses import dataclass

from dpe_server.coap.duplicates import EXCHANGE_LIFETIME
from dpe_tools.simulation.events import Address, DatagramRead, DatagramSent
from dpe_tools.simulation.invariants.names import DUPLICATES
from dpe_tools.simulation.world import World

_ACKNOWLEDGEMENT = 6
"""The first four bits: version 1, and the type."""


@dataclass(slots=True)
class _Exchange:
    """A datagram that a process has read, and how it has acknowledged it."""

    request: bytes
    began: int
    acknowledgement: bytes = b""


class MessageLayer:
    """Looks at the acknowledgements."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._exchanges: dict[tuple[str, Address, bytes], _Exchange] = {}
        """By process, peer and message ID."""
        world.on(DatagramRead, self._read)
        world.on(DatagramSent, self._sent)

    def _read(self, event: DatagramRead) -> None:
        name = event.process, event.sender, event.datagram[2:4]
        known = self._exchanges.get(name)
        if known is None:
            self._exchanges[name] = _Exchange(event.datagram, self._world.now)
        elif known.request != event.datagram:
            known.request = b""  # a message ID used twice, or damage: nobody can see which is acknowledged

    def _sent(self, event: DatagramSent) -> None:
        datagram = event.datagram
        exchange = self._exchanges.get((event.process, event.receiver, datagram[2:4]))
        if exchange is None or not exchange.request or datagram[0] >> 4 != _ACKNOWLEDGEMENT:
            return
        if exchange.acknowledgement not in (b"", datagram):
            if self._world.now - exchange.began < EXCHANGE_LIFETIME * 1000:
                self._world.fail(DUPLICATES, "another acknowledgement of the same message")
            exchange.began = self._world.now
        exchange.acknowledgement = datagram
