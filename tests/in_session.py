"""Devices in their sessions, put straight into a store, and what they send: a test determines every byte."""

import random
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from dpe_coap import oscore
from dpe_coap.client_ids import client_id_bytes
from dpe_coap.messages import Version
from dpe_coap.session_messages import encode_report
from dpe_server.keys.at_rest import AtRest
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import Outcome, Session
from dpe_server.store.opening import make_store
from tests import coap

OSCORE = 9
BATTERY = b"\x00"
"""The encoding of the property that is reported."""
DELETE = b"\x04\xb3dpe"
_REPORT = b"\x02\xb3dpe\x11\x3c\xff"
_ETAG = b"none"
"""Of no policies that there are: so the device is told its own with each answer."""


def report(value: int) -> bytes:
    """Return the plaintext of a report of one value."""
    return _REPORT + encode_report({0: value}, _ETAG)


@dataclass(frozen=True, slots=True)
class InSession:
    """What a device and its server know of its session."""

    client_id: int
    keys: oscore.Keys = field(repr=False)

    def request(self, number: int, plaintext: bytes) -> bytes:
        """Return a datagram; its CoAP token and message ID are the number."""
        sender = client_id_bytes(self.client_id)
        nonce = oscore.nonce(self.keys.common_iv, sender, number)
        ciphertext = oscore.encrypt(self.keys.client, nonce, oscore.additional_data(sender, number), plaintext)
        options = [(OSCORE, oscore.option(sender, number))]
        return bytes(coap.Message(coap.CON, coap.POST, number & 0xFFFF, number.to_bytes(4, "big"), options, ciphertext))

    def opened(self, number: int, ciphertext: bytes) -> bytes | None:
        """Return the plaintext of the answer to a request; None if the server did not make it."""
        sender = client_id_bytes(self.client_id)
        nonce = oscore.nonce(self.keys.common_iv, sender, number)
        return oscore.decrypt(self.keys.server, nonce, oscore.additional_data(sender, number), ciphertext)


def put(state: StateDir, count: int, chance: random.Random, *, first: int = 1) -> Sequence[InSession]:
    """Put ``count`` new sessions into the store of ``state``; their ordinals begin with ``first``."""
    at_rest = AtRest(state.keys.at_rest, chance.randbytes)
    made: list[InSession] = []
    sessions: list[Session] = []
    for ordinal in range(first, first + count):
        client_id, master = chance.getrandbits(56), chance.randbytes(24)
        made.append(InSession(client_id, oscore.derive(master[:16], master[16:], client_id_bytes(client_id))))
        sessions.append(
            Session(
                client_id=client_id,
                device=chance.randbytes(16),
                sealed_imei=b"sealed",
                version=Version(1, 0),
                firmware=None,
                suite=1,
                rule="DPE 1.x",
                ordinal=ordinal,
                established_at=int(time.time()),
                lifetime=None,
                expires_at=None,
                th3=chance.randbytes(32),
                success_hash=chance.randbytes(32),
                confirm=b"confirm",
                sealed_keys=at_rest.seal_keys(master, client_id),
            )
        )
    if sessions:
        with closing(make_store(state.store_url)) as store:
            assert set(store.commit(sessions)) == {Outcome.COMMITTED}
    return made
