"""What the events tell of a client beyond its public attributes: no other module here reads its private ones."""

from dpe_coap.client_ids import client_id_of
from dpe_device import registration as client
from dpe_device import udp
from dpe_device.registration import Registration
from dpe_tools.simulation.events import Registered

_HEADER = 20
"""Bytes of a client's request before its payload, without its CoAP token."""
_SENT_ONCE = 7
"""What is left of an exchange after its first transmission."""


def payload_of(request: bytes) -> bytes:
    """Return the payload of a client's request, empty if there is none."""
    return request[_HEADER + (request[0] & 15) :]


def open_request(registration: Registration) -> bytes:
    """Return the datagram of the open exchange, empty if there is none."""
    return registration._request


def sent_before(registration: Registration) -> bool:
    """Say whether the datagram that the client wants sent is not the first of its exchange."""
    return registration._left < _SENT_ONCE


def secrets(registration: Registration) -> tuple[bytes, bytes]:
    """Return PRK3 and the last transcript hash, of a client that has had a RESPONSE."""
    return registration._prk3, registration._th


def claims(registration: Registration) -> tuple[str, bytes | None, bytes, tuple[bytes, bytes] | None] | None:
    """Return what a client in REGISTERED holds: the server's URI, the Client ID, TH3, the OSCORE secret and salt."""
    if registration.state != client.REGISTERED:
        return None
    return registration.server, registration.client_id, registration._th, registration.oscore


def session(registration: Registration) -> Registered | None:
    """Return the session of a client in REGISTERED."""
    held = claims(registration)
    if held is None:
        return None
    server, client_id, th3, oscore = held
    return Registered(udp.parse_uri(server), client_id_of(client_id or b""), th3, b"".join(oscore or ()))
