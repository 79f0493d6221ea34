"""What a device sends in its session: under which number, and that this was saved before."""

from dpe_coap.client_ids import client_id_bytes
from dpe_tools.simulation.invariants.asked import DELETE, Requests
from dpe_tools.simulation.invariants.names import (
    END_IS_SAVED,
    NUMBERS_SAVED,
    ONE_PLAINTEXT,
    RETRANSMISSION,
)
from dpe_tools.simulation.session_events import ProtectedSent, RecordSaved, RolledBack
from dpe_tools.simulation.world import World

BLOCK = 256
MOST_SENDS = 5
"""Times that one datagram is sent (RFC 7252 section 4.8: MAX_RETRANSMIT + 1)."""
_NEXT_BLOCK, _MARK, _CLIENT_ID, _SESSION = slice(0, 4), slice(4, 9), slice(26, 33), slice(35, 99)
"""In a record: the next block of numbers, the mark, the Client ID, and what names a session, PRK3 and TH2."""
_ENDS = 0x80
"""In the first byte of a mark: the device is deregistering."""


class Numbers:
    """Looks at each request of a session when it is sent, and at each record when it is saved."""

    def __init__(self, world: World, requests: Requests) -> None:
        self._fail = world.fail
        self._requests = requests
        self._records: dict[bytes, bytes] = {}
        """By device, what is in its flash."""
        self._began: dict[bytes, int] = {}
        """By what names a session in a record, the block that its numbers begin with."""
        self._copied: set[bytes] = set()
        """Sessions that were in a storage that was rolled back: nothing helps against numbers that are used twice."""
        self._used: dict[tuple[bytes, int], bytes] = {}
        """By session and number."""
        self._sent: dict[bytes, tuple[bytes, int]] = {}
        """By device, the last datagram, and how often it was sent."""
        world.on(RecordSaved, self._saved)
        world.on(RolledBack, self._rolled_back)
        world.on(ProtectedSent, self._request)

    def _saved(self, event: RecordSaved) -> None:
        self._records[event.device] = event.record
        self._began.setdefault(event.record[_SESSION], _next_block(event.record) - 1)

    def _rolled_back(self, event: RolledBack) -> None:
        self._records[event.device] = event.record or b""
        sessions = self._requests.sessions.items()
        self._copied |= {th3 for th3, session in sessions if session.device == event.device}

    def _request(self, event: ProtectedSent) -> None:
        asked, record = self._requests.made[event.request], self._records.get(event.device, b"")
        self._resent(event)
        used = self._used.setdefault((asked.session, asked.number), event.request)
        if used != event.request and asked.session not in self._copied:
            self._fail(ONE_PLAINTEXT, "of a request")
        if record[_CLIENT_ID] != client_id_bytes(event.session.client_id):
            self._fail(NUMBERS_SAVED, "the session itself is not there")
            return
        blocks = _next_block(record) - self._began[record[_SESSION]]
        if asked.number > BLOCK * blocks:
            self._fail(NUMBERS_SAVED, f"number {asked.number}, and {blocks} blocks of 256 are saved")
        if asked.method == DELETE and not record[_MARK][0] & _ENDS:
            self._fail(END_IS_SAVED, "it is not in the record")

    def _resent(self, event: ProtectedSent) -> None:
        before, times = self._sent.get(event.device, (b"", 0))
        if not event.again:
            before, times = event.datagram, 0
        if event.datagram != before:
            self._fail(RETRANSMISSION, "other bytes in a session")
        elif times == MOST_SENDS:
            self._fail(RETRANSMISSION, f"sent {times + 1} times in a session")
        self._sent[event.device] = event.datagram, times + 1


def _next_block(record: bytes) -> int:
    return int.from_bytes(record[_NEXT_BLOCK], "big")
