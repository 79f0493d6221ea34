"""What the audit log is told of sessions: when a device is heard for the first time, and when a session ends."""

from dpe_coap.client_ids import client_id_text
from dpe_server.handling.records import AuditRecord
from dpe_server.keys.at_rest import device_text


def first_contact(device: bytes, client_id: int) -> AuditRecord:
    """Return the record of the first request of a session. Later ones have none."""
    return AuditRecord("first-contact", {"device": device_text(device), "client_id": client_id_text(client_id)})


def session_ended(client_id: int, why: str) -> AuditRecord:
    """Return the record of a session that has ended: ``why`` is "deregistered" or "expired"."""
    return AuditRecord("session-ended", {"client_id": client_id_text(client_id), "why": why})


def unauthenticated(reason: str) -> AuditRecord:
    """Return the record of a request that proves nothing."""
    return AuditRecord("unauthenticated", {"reason": reason}, unproved=True)
