"""What tells a message of a registration from other payloads, and whom it is about, before anything of it is decided.

A message begins with one byte that says how many entries follow, its type, and then what names the device: a REQUEST
has the handle or the IMEI, a SUCCESS the Client ID. Handles and Client IDs were given out by the server, and a device
has one at a time.
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
"""What stands behind the first byte of the messages that a server takes: the first entry of the map."""

SUBJECTS = {
    kind + bytes([label, cbor.BYTES << 5 | size]): len(kind) + 2 + size
    for kind, label, size in (
        (KINDS[0], LABEL_IDENTITY, SIZE_SEALED_IMEI),
        (KINDS[0], LABEL_IDENTITY, SIZE_CLEAR_IMEI),
        (KINDS[1], LABEL_CLIENT_ID, SIZE_CLIENT_ID),
    )
}
"""How many bytes behind the first one name the device, by the first four of them."""
