"""The device's codec beside the server's: the fields of a message, as each of them gives these."""

from typing import Any

from dpe_coap import messages as server
from dpe_coap.errors import MalformedMessage
from tests.device.test_cbor import decode as of_device


def as_fields(message: server.Message) -> dict[int, Any]:
    """A message of the server's codec as the device's codec gives it."""
    match message:
        case server.Request(identity, version, token, x25519_key=key, firmware=firmware):
            fields: dict[int, Any] = {0: 1, 1: identity, 2: tuple(version), 6: key, 7: firmware, 23: token}
        case server.Response():
            fields = {0: 2, 2: tuple(message.version), 3: message.client_id, 4: message.status}
            fields |= {5: message.sealed_handle, 6: message.x25519_key, 8: message.server_uri}
            fields |= {10: message.retry_after, 23: message.security_token}
        case server.Success(client_id, status, mac):
            fields = {0: 3, 3: client_id, 4: status, 23: mac}
        case server.Confirm(status, mac, lifetime):
            fields = {0: 4, 4: status, 9: lifetime, 23: mac}
    return {label: value for label, value in fields.items() if value is not None}


def of_server(data: bytes) -> dict[int, Any] | None:
    """The fields of a message that is for a client, or None."""
    try:
        message = server.decode(data)
    except MalformedMessage:
        return None
    return as_fields(message) if isinstance(message, server.Response | server.Confirm) else None


def alike(data: bytes) -> bool:
    """Compare the two; tell whether they accept."""
    expected = of_server(data)
    assert of_device(data) == expected
    return expected is not None
