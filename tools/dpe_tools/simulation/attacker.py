"""Somebody on the path who hears every datagram and sends what may confuse: forges, replays, reflects, mixes, floods.

The attacker has no key of a board, but has a device with a valid key: the insider, which is one device more to the
server and must not harm the others.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random

from dpe_coap.numbers import SIZE_MAC
from dpe_device import messages
from dpe_tools.datagram import Datagram
from dpe_tools.simulation.client_state import payload_of, protected_of
from dpe_tools.simulation.events import Address, RequestSent
from dpe_tools.simulation.forgeries import CBOR, forged_answer
from dpe_tools.simulation.trouble import Trouble
from dpe_tools.simulation.world import LATENCY, World

STRANGER = "stranger"
REGISTER = ((11, b"dpe"), (11, b"register"), *CBOR)
POST = 0x02
FLOOD = 16
"""The most REQUESTs of one flood."""
LATE = (1_000, 60_000, 600_000)
"""The most milliseconds after which something is sent again; one of these is drawn."""


@dataclass(frozen=True)
class Insider:
    """A device of the attacker, with a valid key."""

    device: bytes
    key: bytes = field(repr=False)
    handle: bytes = field(repr=False)
    realm: str


@dataclass
class Attacker:
    """Hears what is sent to and from ``servers``, and acts on each datagram with the probabilities of ``trouble``."""

    world: World
    servers: Collection[Address]
    trouble: Trouble
    insider: Insider
    _withheld: set[bytes] = field(default_factory=set)
    _held_back: dict[str, bytes] = field(default_factory=dict)
    """By board, a request of its session that waits for the next datagram of the board."""
    _let_through: set[bytes] = field(default_factory=set)

    @property
    def is_there(self) -> bool:
        """Whether it does anything but flood."""
        trouble = self.trouble
        chances = trouble.forges, trouble.replays, trouble.reflects, trouble.mixes, trouble.withholds, trouble.withheld
        return any(chances)

    def hear(self, source: Address, destination: Address, datagram: bytes) -> bool:
        """Take note of a datagram on its way; return whether it is withheld."""
        world, trouble = self.world, self.trouble
        to_server = destination in self.servers
        if to_server and self._withhold(source, destination, datagram):
            return True
        if to_server and self._hold_back(source, destination, datagram):
            return True
        if world.chance(trouble.reflects):
            world.note(f"a reflection of {len(datagram)} bytes to {source[0]}")
            world.inject(destination, source, datagram, world.random.randint(1, 60))
        if world.chance(trouble.mixes):
            self._mix(source, destination, datagram)
        if destination in self.servers:
            if world.chance(trouble.forges):
                forged = forged_answer(world, datagram)
                claimed = destination if world.chance(0.9) else self._stranger()
                world.note(f"a forgery of {len(forged)} bytes to {source[0]}")
                world.inject(claimed, source, forged, world.random.randint(1, 60))
            if world.chance(trouble.replays):
                self._replay(source, destination)
        elif world.chance(trouble.replays):
            sender, receiver, old = world.random.choice(world.overheard)
            world.inject(sender, receiver, old, world.random.randint(0, world.random.choice(LATE)))
        return False

    def flood(self) -> None:
        """Send a server many REQUESTs that look valid, or are."""
        world, chance = self.world, self.world.random
        server = chance.choice(list(self.servers))
        size = chance.randint(1, FLOOD)
        genuine = world.chance(0.5)
        world.note(f"a flood of {size} {'genuine' if genuine else 'forged'} REQUESTs to {server[0]}")
        payloads = [payload_of(heard) for _, _, heard in world.overheard]
        handles = [payload[5:22] for payload in payloads if payload[1:3] == b"\x00\x01"]
        for number in range(size):
            key, handle = self.insider.key, self.insider.handle
            if not genuine:
                key, handle = chance.randbytes(32), chance.choice(handles) if handles else chance.randbytes(17)
            nonce, realm = chance.randbytes(16), self.insider.realm
            payload = messages.make_request(key, realm, handle, (1, 0), nonce, None, None)
            message = request_datagram(chance, payload)
            if genuine:
                world.emit(RequestSent(self.insider.device, payload, bytes(message), again=False))
            world.inject(self._stranger(), server, bytes(message), number // 8)

    def _withhold(self, source: Address, destination: Address, datagram: bytes) -> bool:
        """Withhold a SUCCESS and answer in the server's place; deliver it later, perhaps after the client gave up."""
        world, payload = self.world, payload_of(datagram)
        if not self.trouble.withholds or payload[1:3] != b"\x00\x03" or payload in self._let_through:
            return False
        if payload not in self._withheld:
            if not world.chance(self.trouble.withholds):
                self._let_through.add(payload)
                return False
            self._withheld.add(payload)
            world.inject(source, destination, datagram, world.random.randint(10_000, 250_000))
        world.note(f"a SUCCESS of {source[0]} is withheld")
        size = datagram[0] & 15  # of its CoAP token
        world.inject(destination, source, bytes([0x60 | size, 0x81]) + datagram[2 : 4 + size], 20)
        return True

    def _hold_back(self, source: Address, destination: Address, datagram: bytes) -> bool:
        """Withhold a request of a session, until the board sends another one or a SUCCESS: then both come together."""
        world, board = self.world, source[0]
        if not self.trouble.withheld:
            return False
        protected = protected_of(datagram)
        held = self._held_back.get(board)
        is_another = held is not None and protected != protected_of(held)
        if held is not None and is_another and (protected or payload_of(datagram)[1:3] == b"\x00\x03"):
            del self._held_back[board]
            world.note(f"a request of {board} that was withheld comes now")
            world.inject(source, destination, held, LATENCY + world.random.randint(0, 2))
        elif protected and held is None and world.chance(self.trouble.withheld):
            world.note(f"a request of {board} is withheld")
            self._held_back[board] = datagram
        return board in self._held_back and bool(protected)

    def _stranger(self) -> Address:
        return STRANGER, self.world.random.randint(4000, 4007)

    def _replay(self, source: Address, destination: Address) -> None:
        world = self.world
        _, server, old = world.random.choice([sent for sent in world.overheard if sent[1] in self.servers])
        world.note(f"a replay of {len(old)} bytes to {server[0]}")
        world.inject(
            source if world.chance(0.5) else self._stranger(),
            server,
            old,
            world.random.randint(0, world.random.choice(LATE)),
        )

    def _mix(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Send the datagram with a part of another one, or with another status, before the real one arrives."""
        world, chance = self.world, self.world.random
        mixed = bytearray(datagram)
        other = chance.choice(world.overheard)[2]
        start = datagram.find(b"\xff") + 1
        what = chance.randrange(4)
        if what == 0 and start and len(other) > SIZE_MAC:
            mixed[-SIZE_MAC:] = other[-SIZE_MAC:]
        elif what == 1 and start and (theirs := other.find(b"\xff") + 1):
            mixed[start:] = other[theirs:]
        elif what == 2 and len(other) > 8:
            part = chance.choice((slice(2, 4), slice(4, 8), slice(2, 8)))
            mixed[part] = other[part]
        else:
            status = {b"\x03": 13, b"\x04": 4}.get(bytes(datagram[start + 2 : start + 3]), 19)
            if start and start + status < len(mixed):
                mixed[start + status] ^= chance.choice((1, 16, 17))
        world.note(f"a mixture of {len(mixed)} bytes to {destination[0]}")
        world.inject(source, destination, bytes(mixed), 1)


def request_datagram(chance: Random, payload: bytes) -> Datagram:
    """Return a datagram with a message for a server."""
    return Datagram("CON", POST, chance.randrange(0x10000), chance.randbytes(4), REGISTER, payload)
