"""What the audit log is told of registrations, but for what is counted to a device (``allowances.py``)."""

from dpe_coap.messages import Version
from dpe_coap.numbers import Status
from dpe_server.handling.handler import Batch
from dpe_server.handling.records import AuditRecord
from dpe_server.keys.at_rest import device_text

_NAMES = {status: status.name.lower() for status in Status}


def log_unproved(batch: Batch, event: str, /, **details: str | int) -> None:
    """Tell the audit log of what anybody can cause at will, without a key or with overheard bytes."""
    batch.records.append(AuditRecord(event, details, unproved=True))


def log_response(
    batch: Batch, device: bytes, client_id: bytes | None, status: Status, rule: str, version: Version, suite: int
) -> None:
    """Tell the audit log of a RESPONSE to a device, and of the Client ID that it offers, if any."""
    details: dict[str, str | int] = {"device": device_text(device)}
    if client_id is not None:
        details["client_id"] = client_id.hex()
    details |= {"status": _NAMES[status], "rule": rule, "version": str(version), "suite": suite}
    batch.records.append(AuditRecord("response", details))
