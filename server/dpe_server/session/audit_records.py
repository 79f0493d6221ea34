"""What the audit log is told of sessions: when a device is heard for the first time, and when a session ends.

A session's registration is named by its ordinal, as in the events before it.
"""

from dpe_coap.client_ids import client_id_text
from dpe_server.handling.records import SIZE_END, AuditRecord
from dpe_server.keys.at_rest import device_text
from dpe_server.store.contract import Expired
from dpe_server.store.questions import Context


def first_contact(session: Context, payload: bytes) -> AuditRecord:
    """Return the record of the first request of a session. Later ones have none."""
    return AuditRecord("first-contact", _named(session), end=payload[-SIZE_END:])


def session_ended(session: Context | Expired, why: str, payload: bytes = b"") -> AuditRecord:
    """Return the record of a session that has ended: ``why`` is "deregistered", by ``payload``, or "expired"."""
    return AuditRecord("session-ended", {**_named(session), "why": why}, end=payload[-SIZE_END:])


def unauthenticated(reason: str, payload: bytes) -> AuditRecord:
    """Return the record of a request that proves nothing."""
    return AuditRecord("unauthenticated", {"reason": reason}, True, payload[-SIZE_END:])


def not_committed(session: Context, payload: bytes) -> AuditRecord:
    """Return the record of a request under a session's keys that the store has not accepted."""
    return AuditRecord("unauthenticated", {**_named(session), "reason": "not committed"}, True, payload[-SIZE_END:])


def _named(session: Context | Expired) -> dict[str, str | int]:
    name, client_id = device_text(session.device), client_id_text(session.client_id)
    return {"device": name, "registration": session.ordinal, "client_id": client_id}
