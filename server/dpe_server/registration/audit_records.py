"""What the audit log is told of registrations, but for what is counted to a device (``allowances.py``)."""

from dpe_coap.client_ids import client_id_text
from dpe_coap.numbers import Status
from dpe_server.handling.handler import Batch
from dpe_server.handling.records import AuditRecord
from dpe_server.keys.at_rest import device_text

STATUS_NAMES = {status: status.name.lower() for status in Status}

_UNPROVED = frozenset(("malformed", "unauthenticated", "confirm-repeated", "store-failed"))
"""Events that anybody can cause at will, without a key or with overheard bytes."""


def log(batch: Batch, event: str, **details: str | int) -> None:
    """Tell the audit log of an event that is bounded for all together, or by the transactions of a device."""
    batch.records.append(AuditRecord(event, details, event in _UNPROVED))


def named(device: bytes, client_id: int | None) -> dict[str, str | int]:
    """Return what names a device in the audit log: its short hash and, if it has one, its Client ID."""
    names: dict[str, str | int] = {"device": device_text(device)}
    return names if client_id is None else {**names, "client_id": client_id_text(client_id)}
