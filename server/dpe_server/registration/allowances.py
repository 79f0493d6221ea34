"""What one device may cause in a minute once its key has been proved, by itself or by replays of what it has sent.

A REQUEST that proves a key costs a transaction and a line of the audit log. Who holds the key can make one after the
other, and who has recorded some can send them again and again. So each device has two shares. A handle that is fresher
than all that the device has used shows the holder of the key: RESPONSE brings the next handle, under that key. Other
REQUESTs may be replays. They have a share of their own, so that the device goes on however many there are. A device
that is told to ask for another version, or in the other suite, has the same handle for that: half of its own share is
open to the freshest handle again.

The server forgets in the end what a device has used, and at a restart. The first handle that comes then counts as
fresh: what is not known is not held against a device.
"""

from struct import Struct

from dpe_server.handling.handler import Batch
from dpe_server.handling.records import SUPPRESSED, AuditRecord
from dpe_server.keys.at_rest import device_text
from dpe_server.registration.audit_records import named
from dpe_server.registration.containers import Recent
from dpe_server.registration.transactions import Transaction

MINUTE = 60.0
"""Seconds. A device's minute begins with the first event that is counted."""
FRESH = 20
"""New transactions in a minute, with a handle fresher than all that the device has used."""
RETRIES = 10
"""How many of ``FRESH`` may be used when a REQUEST comes with the freshest handle again."""
OTHERS = 20
"""New transactions in a minute, with other handles."""
REPLAYS = 10
"""How many of ``OTHERS`` may be used when a REQUEST comes that has had a transaction before: it is no new one. The
rest is kept for a device that has lost its storage and begins with an old handle, but with a new REQUEST."""
LINES = 60
"""Lines of the audit log in a minute, with one for each new transaction and one for each share that is used up."""
DEVICES = 1 << 18
"""The most devices that are remembered, in some 50 MB; and the most REQUESTs with other handles."""

_LINES_LEFT = LINES - FRESH - OTHERS - 2


class Allowances:
    """What each device has used of its shares."""

    _USED = Struct(">BBBBqd")
    """In this minute: lines, transactions with a fresh handle and with others, and which of these two shares was
    reported as used up; the freshest handle ever (-1: none yet); and when the minute began."""

    def __init__(self, devices: int = DEVICES) -> None:
        self._used = Recent(devices)
        self._requests = Recent(devices)
        self._now = 0.0

    def begin(self, now: float) -> None:
        """Go on at ``now`` (monotonic seconds)."""
        self._now = now

    def refuse(self, device: bytes, freshness: int, th1: bytes, end: bytes = b"") -> AuditRecord | None:
        """Count a new transaction of a device. Return None if it may begin, else what the audit log is told.

        ``freshness`` is that of the handle, ``th1`` the hash of the REQUEST (32 bytes), and ``end`` its
        end (``AuditRecord``).
        """
        used = self._used.get(device) or self._new(device)
        lines, fresh, others, told, freshest, began = self._USED.unpack(used)
        if self._now >= began + MINUTE:
            lines, fresh, others, told, began = 0, 0, 0, 0, self._now
        if freshness > freshest or (freshness == freshest and fresh < RETRIES):
            share, name, allowed = 1, "fresh", fresh < FRESH
            if allowed:
                freshest, fresh = freshness, fresh + 1
        else:
            known = self._requests.get(th1) is not None
            share, name, allowed = 2, "other", others < (REPLAYS if known else OTHERS)
            if allowed:
                others += 1
                if not known:
                    self._requests.add(th1, bytearray())
        reported = told & share
        if not allowed:
            told |= share
        self._USED.pack_into(used, 0, lines, fresh, others, told, freshest, began)
        if allowed:
            return None
        if reported:
            return SUPPRESSED
        return AuditRecord("limited", {"device": device_text(device), "handles": name}, end=end)

    def log(self, batch: Batch, end: bytes, transaction: Transaction, event: str, /, **details: str | int) -> None:
        """Tell the audit log of what a device has done, if it is not a new transaction and not too much.

        ``end``: see ``AuditRecord``.
        """
        device = transaction.device
        used = self._used.get(device) or self._new(device)
        if used[0] >= _LINES_LEFT:
            *_, freshest, began = self._USED.unpack(used)
            if self._now < began + MINUTE:
                batch.records.append(SUPPRESSED)
                return
            self._USED.pack_into(used, 0, 0, 0, 0, 0, freshest, self._now)
        used[0] += 1
        batch.records.append(AuditRecord(event, {**named(transaction), **details}, end=end))

    def _new(self, device: bytes) -> bytearray:
        used = bytearray(self._USED.pack(0, 0, 0, 0, -1, self._now))
        self._used.add(device, used)
        return used
