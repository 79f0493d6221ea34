"""What the audit log is told: decisions about devices, without personal data."""

from typing import NamedTuple

SIZE_END = 8
"""Bytes of the end of a message: of its MAC, or of the tag of what is protected."""


class AuditRecord(NamedTuple):
    """One decision: ``event`` and what belongs to it. No IMEI, key or security token."""

    event: str
    details: dict[str, str | int]
    unproved: bool = False
    """Whether anybody can cause it at will: without a key, or with overheard bytes."""
    end: bytes = b""
    """The last SIZE_END bytes of the message that it is about, by which its sender is found where that is asked for."""


SUPPRESSED = AuditRecord("suppressed", {})
"""Stands for a record beyond what one device may cause: it is counted and gets no line."""
