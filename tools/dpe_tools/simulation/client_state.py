"""What the events tell of a client beyond its public attributes: no other module here reads its private ones."""

from dpe_coap.client_ids import client_id_of
from dpe_device import registration as client
from dpe_device import udp
from dpe_device.registration import Registration
from dpe_device.session import READY, REPORTING
from dpe_tools.simulation.events import Registered

_HEADER = 20
"""Bytes of a client's request before its payload, without its CoAP token."""
_PROTECTED = 0x9
"""The first four bits behind the CoAP token of a session's request: its first option is OSCORE's."""
_SENT_ONCE = 7
"""What is left of an exchange after its first transmission."""
_IN_SESSION = (client.REGISTERED, READY, REPORTING)


def payload_of(request: bytes) -> bytes:
    """Return the payload of a client's message of a registration, empty if there is none."""
    start = _HEADER + (request[0] & 15)
    return b"" if protected_of(request) else request[start:]


def protected_of(request: bytes) -> bytes:
    """Return what a session's request asks the server to decide; empty if a datagram is none.

    That is the value of the OSCORE option, a payload marker and the ciphertext.
    """
    at = 4 + (request[0] & 15)
    if len(request) <= at or request[at] >> 4 != _PROTECTED or request[0] >> 4 != 4:
        return b""
    return request[at + (2 if request[at] & 15 == 13 else 1) :]


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
    """Return what a client in its session holds: the server's URI, the Client ID, TH3, the OSCORE secret and salt."""
    if registration.state not in _IN_SESSION:
        return None
    return registration.server, registration.client_id, registration._th, registration.oscore


def session(registration: Registration) -> Registered | None:
    """Return the session of a client in REGISTERED, or in READY or REPORTING."""
    held = claims(registration)
    return None if held is None else _registered(*held)


def asked_in(registration: Registration) -> Registered:
    """Return the session of a client that has just sent a request of it."""
    return _registered(registration.server, registration.client_id, registration._th, registration.oscore)


def _registered(server: str, client_id: bytes | None, th3: bytes, oscore: tuple[bytes, bytes] | None) -> Registered:
    return Registered(udp.parse_uri(server), client_id_of(client_id or b""), th3, b"".join(oscore or ()))
