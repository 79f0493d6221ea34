"""What operators do, in the audit log: for those who read it. The journal that a recovery needs is another file.

A device is named as in the names of credential files: by the first 16 hex digits of its keyed hash, never by its IMEI.
"""

import sys
import time
from collections.abc import Sequence

from dpe_server.handling.records import AuditRecord
from dpe_server.keys.at_rest import device_text
from dpe_server.operation.audit import AuditLog
from dpe_server.operation.state_dir import StateDir

NAMED = 1_000
"""The most devices of one act that get a line each. A longer list would push everything else out of the log."""


def note(opened: StateDir, event: str, devices: Sequence[bytes] = (), **details: str | int) -> str:
    """Write one line about an act that is done, or one for each of its ``devices`` (from ``AtRest.device_id``).

    Above NAMED devices it is one line that says how many. A running server may write to the file at the same time. If
    it cannot be written within 2 s, a warning on standard error says so: the act is done all the same. Returns why it
    was not written, or "".
    """
    subjects: list[dict[str, str | int]] = [{"device": device_text(device)} for device in devices]
    if len(devices) > NAMED:
        subjects = [{"count": len(devices)}]
    records = [AuditRecord(event, {**subject, **details}) for subject in subjects or [{}]]
    log = AuditLog(opened.audit_path, opened.audit_limits, quiet=True)
    log.write(records, time.monotonic(), time.time())
    fault = log.close(time.time())
    if fault and sys.stderr is not None:
        print(f"dpe: warning: done, but not noted in {opened.audit_path}: {fault}", file=sys.stderr)
    return fault
