"""What the audit log is told: decisions about devices, without personal data."""

from typing import NamedTuple


class AuditRecord(NamedTuple):
    """One decision: ``event`` and what belongs to it. No IMEI, key or security token."""

    event: str
    details: dict[str, str | int]
    unproved: bool = False
    """Whether anybody can cause it at will: without a key, or with overheard bytes."""


SUPPRESSED = AuditRecord("suppressed", {})
"""Stands for a record beyond what one device may cause: it is counted and gets no line."""
