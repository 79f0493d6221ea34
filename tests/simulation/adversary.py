"""Somebody on the path who hears every datagram, has no key, and sends what may confuse: forgeries and replays."""

from collections.abc import Collection
from dataclasses import dataclass

from dpe_coap.numbers import SIZE_MAC
from tests.coap import ACK, CON, CONTENT_FORMAT, MAX_AGE, NON, RST, Message
from tests.simulation.world import Address, World

STRANGER: Address = ("stranger", 4000)
CBOR = [(CONTENT_FORMAT, b"\x3c")]
ERRORS = (0x80, 0x81, 0x84, 0xA0, 0xA3)


@dataclass
class Adversary:
    """Answers the requests sent to ``servers`` with forgeries and replays them later, each with a probability."""

    world: World
    servers: Collection[Address]
    forges: float
    replays: float

    def hear(self, source: Address, destination: Address, datagram: bytes) -> None:
        """Take note of a datagram on its way."""
        world = self.world
        if destination not in self.servers:
            return
        if world.chance(self.forges):
            forged = self._forgery(datagram)
            claimed = destination if world.chance(0.9) else STRANGER
            world.note(f"a forgery of {len(forged)} bytes to {source[0]}")
            world.inject(claimed, source, forged, world.random.randint(1, 60))
        if world.chance(self.replays):
            _, server, old = world.random.choice([sent for sent in world.overheard if sent[1] in self.servers])
            world.note(f"a replay of {len(old)} bytes to {server[0]}")
            claimed = source if world.chance(0.5) else STRANGER
            world.inject(claimed, server, old, world.random.randint(0, 600_000))

    def _forgery(self, request: bytes) -> bytes:
        """A datagram that looks like the answer to a request."""
        world = self.world
        chance = world.random
        asked = Message.parse(request)
        kind = chance.choice((ACK, CON, NON))
        message_id = asked.message_id if kind == ACK else chance.randrange(0x10000)
        token = asked.coap_token
        what = chance.randrange(10)
        if what == 0:
            return chance.choice((bytes(Message(RST, 0, asked.message_id)), bytes(Message(ACK, 0, asked.message_id))))
        if what == 1:
            age = [(MAX_AGE, chance.randbytes(chance.randint(0, 4)))]
            return bytes(Message(kind, chance.choice(ERRORS), message_id, token, age))
        if what == 2:
            return chance.randbytes(chance.randint(0, 1400))
        if what > 6:
            payload = _answer(asked.payload) + chance.randbytes(SIZE_MAC)
            return bytes(Message(kind, 0x44, message_id, token, CBOR, payload))
        payload = _payload(chance.choice(world.overheard)[2]) or asked.payload
        if what == 3:
            payload += chance.randbytes(chance.randint(1, 1200))
        elif what == 4:
            payload = payload[: chance.randrange(len(payload))] if payload else b""
        elif what == 5 and payload:
            at = chance.randrange(len(payload))
            payload = payload[:at] + bytes([payload[at] ^ 1 << chance.randrange(8)]) + payload[at + 1 :]
        return bytes(Message(kind, chance.choice((0x44, 0x45, *ERRORS)), message_id, token, CBOR, payload))


def _answer(message: bytes) -> bytes:
    """What a server would say to a message, but for the MAC."""
    if message[2:3] == b"\3":
        return bytes.fromhex("a30004040017 50")
    return (
        bytes.fromhex("a6000202820100 0347 10203040506070 0400 0551") + bytes(17) + bytes.fromhex("175820") + bytes(16)
    )


def _payload(datagram: bytes) -> bytes:
    return datagram[datagram.find(b"\xff") + 1 :]
