"""Those who hear what boards send and can send what they like, but stop nothing; they have no key, and do not rest."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from dpe_device import messages
from dpe_tools.simulation.attacker import STRANGER, Insider, request_datagram
from dpe_tools.simulation.client_state import payload_of, protected_of
from dpe_tools.simulation.events import Address, RequestSent
from dpe_tools.simulation.forgeries import forged_answer
from dpe_tools.simulation.session_events import Copied
from dpe_tools.simulation.world import LATENCY, World

KEY_HOLDER: Address = (STRANGER, 5000)
SEALED_HANDLE = 5
"""The label of the next handle, which ``open_response`` has opened."""
KEPT = 64
"""The most REQUESTs of a board that are kept."""
PORTS = 16
"""Source ports of the recordings: enough to reach every worker."""
ROUND_TRIP = LATENCY + 2, 3 * LATENCY - 1
"""Milliseconds after a REQUEST has left: the server has read it, and has not had the SUCCESS yet."""
BEFORE = 1, LATENCY - 1
"""Milliseconds after a REQUEST has left: the server has not had it yet."""


@dataclass
class Replayer:
    """Records REQUESTs, and sends a board's earlier ones with each that the board sends.

    These are ``count`` datagrams, with its last REQUESTs or, if it has sent fewer, with those in a cycle. With
    ``reacts`` they arrive between that REQUEST and its SUCCESS, without it just before that REQUEST.
    """

    world: World
    servers: Collection[Address]
    count: int
    reacts: bool
    _recorded: defaultdict[str, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """By board, its REQUESTs, each with a datagram that it was in; the newest last."""

    def hear(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Take note of a datagram on its way."""
        world, request = self.world, payload_of(datagram)
        if destination not in self.servers or request[1:3] != b"\x00\x01":
            return
        recorded = self._recorded[source[0]]
        earlier = [old for payload, old in recorded.items() if payload != request][::-1]
        for number in range(self.count if earlier else 0):
            old = earlier[number % len(earlier)]
            port = world.random.randrange(4000, 4000 + PORTS)
            fresh = old[:2] + world.random_bytes(2) + old[4:]  # its message ID: no duplicate to the message layer
            delay = world.random.randint(*(ROUND_TRIP if self.reacts else BEFORE))
            world.inject((STRANGER, port), destination, fresh, delay)
        if earlier and self.count:
            world.note(f"{self.count} recordings of {source[0]} to {destination[0]}")
        recorded[request] = datagram
        if len(recorded) > KEPT:
            del recorded[next(iter(recorded))]


@dataclass
class KeyHolder:
    """A device of the attacker that asks ``server`` again and again, each time with the freshest handle that it has."""

    world: World
    server: Address
    insider: Insider
    _handle: bytes = field(default=b"", repr=False)
    _request: bytes = b""

    def begin(self, count: int) -> None:
        """Send ``count`` REQUESTs, one each 100 ms."""
        self._handle = self.insider.handle
        self.world.endpoints[KEY_HOLDER] = self._receive
        self.world.note(f"the holder of a key sends {count} REQUESTs to {self.server[0]}")
        for number in range(count):
            self.world.after(100 * number, self._ask)

    def _ask(self) -> None:
        world, insider = self.world, self.insider
        nonce = world.random_bytes(16)
        self._request = messages.make_request(insider.key, insider.realm, self._handle, (1, 0), nonce, None, None)
        datagram = bytes(request_datagram(world.random, self._request))
        world.emit(RequestSent(insider.device, self._request, datagram, again=False))
        world.inject(KEY_HOLDER, self.server, datagram)

    def _receive(self, datagram: bytes, _sender: Address) -> None:
        response = datagram[datagram.find(b"\xff", 8) + 1 :]
        try:
            fields, *_ = messages.open_response(self.insider.key, self._request, response, None, b"")
        except ValueError:
            return
        self._handle = fields.get(SEALED_HANDLE, self._handle)


@dataclass
class Injector:
    """Answers whatever a board sends to a server, sooner than the server can: with resets, errors and forgeries."""

    world: World
    servers: Collection[Address]

    def hear(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Take note of a datagram on its way."""
        world = self.world
        if destination in self.servers and (payload_of(datagram) or protected_of(datagram)):
            for _ in range(world.random.randint(1, 3)):
                forged = forged_answer(world, datagram)
                world.note(f"a forgery of {len(forged)} bytes to {source[0]}")
                world.inject(destination, source, forged, world.random.randint(*BEFORE))


@dataclass
class Copier:
    """Sends on each request of a session at once, ``count`` times and from other addresses, and old ones with it.

    With ``first`` they come before it, and as many that are damaged.
    """

    world: World
    servers: Collection[Address]
    count: int
    first: bool = False
    _old: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    """By board, its requests; the newest last."""

    def hear(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Take note of a datagram on its way."""
        world, old = self.world, self._old[source[0]]
        if destination not in self.servers or not protected_of(datagram) or not self.count:
            return
        damaged = datagram[:-1] + bytes([datagram[-1] ^ 1])
        for copied in (*[datagram] * self.count, *old[-2:], *[damaged] * (self.count * self.first)):
            port = world.random.randrange(4000, 4000 + PORTS)
            fresh = copied[:2] + world.random_bytes(2) + copied[4:]
            latest = BEFORE[1] if self.first else ROUND_TRIP[1]
            world.inject((STRANGER, port), destination, fresh, world.random.randint(BEFORE[0], latest))
        world.emit(Copied(protected_of(datagram)))
        world.note(f"{self.count} copies of {source[0]}'s request to {destination[0]}")
        if datagram not in old:
            old.append(datagram)
            del old[:-KEPT]
