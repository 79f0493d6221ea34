"""Answers that no server has given: a reset, an error, a message without a valid security token, a damaged one.

In a session, also one that looks protected, with what was once an answer to another request.
"""

from dpe_coap.errors import RemoteError
from dpe_coap.numbers import SIZE_MAC
from dpe_tools import datagram as coap
from dpe_tools.datagram import OSCORE, Datagram
from dpe_tools.simulation.world import World

CONTENT_FORMAT, MAX_AGE = 12, 14
CBOR = ((CONTENT_FORMAT, b"\x3c"),)
CHANGED, CONTENT = 0x44, 0x45
ERRORS = (0x80, 0x81, 0x84, 0xA0, 0xA3)


def forged_answer(world: World, request: bytes) -> bytes:
    """Return a datagram that looks like the answer to a request."""
    chance = world.random
    try:
        asked = coap.parse(request)
    except RemoteError:
        return request
    kind = chance.choice(("ACK", "CON", "NON"))
    message_id = asked.message_id if kind == "ACK" else chance.randrange(0x10000)
    coap_token = asked.coap_token
    if asked.option(OSCORE) is not None and chance.random() < 0.4:
        answers = [heard for _, _, heard in world.overheard if heard[4 + (heard[0] & 15) :][:2] == b"\x90\xff"]
        old = chance.choice(answers) if answers else b""
        ciphertext = old[6 + (old[0] & 15) :] if old and chance.random() < 0.7 else chance.randbytes(9)
        return bytes(Datagram(kind, CHANGED, message_id, coap_token, ((OSCORE, b""),), ciphertext))
    what = chance.choice((0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7))
    if what == 0:
        return bytes(Datagram(chance.choice(("RST", "ACK")), 0, asked.message_id, b"", (), b""))
    if what == 1:
        age = ((MAX_AGE, chance.randbytes(chance.randint(0, 4))),)
        return bytes(Datagram(kind, chance.choice(ERRORS), message_id, coap_token, age, b""))
    if what == 2:
        return chance.randbytes(chance.randint(0, 1400))
    if what > 6:
        payload = _answer(asked.payload) + chance.randbytes(SIZE_MAC)
        return bytes(Datagram(kind, CHANGED, message_id, coap_token, CBOR, payload))
    other = chance.choice(world.overheard)[2]
    payload = other[other.find(b"\xff") + 1 :] or asked.payload
    if what == 3:
        payload += chance.randbytes(chance.randint(1, 1200))
    elif what == 4:
        payload = payload[: chance.randrange(len(payload))] if payload else b""
    elif what == 5 and payload:
        at = chance.randrange(len(payload))
        payload = payload[:at] + bytes([payload[at] ^ 1 << chance.randrange(8)]) + payload[at + 1 :]
    code = chance.choice((CHANGED, CONTENT, *ERRORS))
    return bytes(Datagram(kind, code, message_id, coap_token, CBOR, payload))


def _answer(message: bytes) -> bytes:
    """Return what a server would answer to a message, without the MAC."""
    if message[2:3] == b"\3":
        return bytes.fromhex("a30004040017 50")
    return (
        bytes.fromhex("a6000202820100 0347 10203040506070 0400 0551") + bytes(17) + bytes.fromhex("175820") + bytes(16)
    )
