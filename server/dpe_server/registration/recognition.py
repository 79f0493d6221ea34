"""How messages of a registration are recognised, and which device they are about, before anything is decided.

A message begins with a byte that says how many entries follow. Its type comes next, then what names the device: the
handle or the IMEI in a REQUEST, the Client ID in a SUCCESS. The server has given out handles and Client IDs, and a
device has one of each at a time.
"""

from dpe_coap import cbor
from dpe_coap.numbers import (
    LABEL_CLIENT_ID,
    LABEL_IDENTITY,
    LABEL_TYPE,
    SIZE_CLEAR_IMEI,
    SIZE_CLIENT_ID,
    SIZE_SEALED_IMEI,
    MessageType,
)

KINDS = (bytes([LABEL_TYPE, MessageType.REQUEST]), bytes([LABEL_TYPE, MessageType.SUCCESS]))
"""What follows the first byte of the messages that a server takes: the first entry of the map."""

SUBJECTS = {
    kind + bytes([label, cbor.BYTES << 5 | size]): len(kind) + 2 + size
    for kind, label, size in (
        (KINDS[0], LABEL_IDENTITY, SIZE_SEALED_IMEI),
        (KINDS[0], LABEL_IDENTITY, SIZE_CLEAR_IMEI),
        (KINDS[1], LABEL_CLIENT_ID, SIZE_CLIENT_ID),
    )
}
"""The length of what names the device, from a payload's second byte on, by its first four bytes."""


def subject(payload: bytes) -> bytes:
    """Return what names the device in a payload, as fairness sees it; empty if nothing does."""
    return payload[1 : 1 + SUBJECTS.get(payload[1:5], 0)]
