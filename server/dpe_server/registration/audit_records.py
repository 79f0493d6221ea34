"""What the audit log is told of registrations, but for what is counted to a device (``allowances.py``)."""

from dpe_coap.messages import Version
from dpe_coap.numbers import Status
from dpe_server.handling.handler import Batch
from dpe_server.handling.records import SIZE_END, AuditRecord
from dpe_server.keys.at_rest import device_text
from dpe_server.registration.authentication import Sender
from dpe_server.registration.transactions import Transaction

_NAMES = {status: status.name.lower() for status in Status}


def log_unproved(batch: Batch, payload: bytes, event: str, /, **details: str | int) -> None:
    """Tell the audit log of what anybody can cause at will, without a key or with overheard bytes."""
    batch.records.append(AuditRecord(event, details, True, payload[-SIZE_END:]))


def log_refused(batch: Batch, sender: Sender) -> None:
    """Tell the audit log of a REQUEST that gets 4.01, and of the device if its key is proved: it is revoked."""
    device = device_text(sender.device)  # in any case: a revoked device causes the work of a stranger
    details = {"device": device, "reason": sender.refusal} if sender.proved else {"reason": sender.refusal}
    log_unproved(batch, sender.payload, "unauthenticated", **details)


def named(transaction: Transaction) -> dict[str, str | int]:
    """Return what all events of a transaction have in common: the device, and the number of the registration."""
    return {"device": device_text(transaction.device), "registration": transaction.ordinal}


def log_response(
    batch: Batch,
    payload: bytes,
    transaction: Transaction,
    client_id: bytes | None,
    rule: str,
    version: Version,
    suite: int,
) -> None:
    """Tell the audit log of the RESPONSE to a REQUEST (``payload``), and of the Client ID that it offers, if any."""
    details = named(transaction)
    if client_id is not None:
        details["client_id"] = client_id.hex()
    details["status"] = _NAMES[transaction.status]
    details["rule"] = rule
    details["version"] = str(version)
    details["suite"] = suite
    batch.records.append(AuditRecord("response", details, end=payload[-SIZE_END:]))
