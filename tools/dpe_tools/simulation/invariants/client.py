"""What a client does: its retransmissions, what it heeds, what it stores, and that it does not fail."""

from hashlib import sha256

from dpe_coap.numbers import Status
from dpe_tools.simulation.events import (
    AcceptanceAsked,
    BoardChanged,
    BoardHeeded,
    ClientRaised,
    RequestSent,
    SuccessSent,
)
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import (
    ACCEPTABLE,
    CLIENT_RAISES,
    HEEDED,
    PERSISTED,
    RETRANSMISSION,
    WHOLE_RECORD,
)
from dpe_tools.simulation.world import World

MOST_SENDS = 5
"""Times that one datagram is sent (RFC 7252 section 4.8: MAX_RETRANSMIT + 1)."""


class Client:
    """Looks at what a board sends, heeds and stores."""

    def __init__(self, world: World, messages: Messages) -> None:
        self._fail = world.fail
        self._messages = messages
        self._sent: dict[bytes, tuple[bytes, int]] = {}
        """By payload, the datagram in which it was sent last, and how often that was."""
        self._whole: dict[bytes, bytes | None] = {}
        """By device, the record that was last found whole."""
        world.on(RequestSent, self._request)
        world.on(SuccessSent, self._success)
        world.on(BoardHeeded, self._heeded)
        world.on(BoardChanged, self._changed)
        world.on(ClientRaised, lambda event: self._fail(CLIENT_RAISES, f"{event.error} in {event.state}"))
        world.on(AcceptanceAsked, self._asked)

    def _request(self, event: RequestSent) -> None:
        if event.request in self._sent and not event.again:
            self._fail(RETRANSMISSION, "a REQUEST in another exchange")
        self._sends(event.request, event.datagram, again=event.again)

    def _success(self, event: SuccessSent) -> None:
        self._sends(event.success, event.datagram, again=event.again)
        made = self._messages.successes[event.success]
        if made.status == Status.OK and (event.record or b"")[26:33] != made.client_id:
            self._fail(PERSISTED, "it is not stored")

    def _sends(self, payload: bytes, datagram: bytes, *, again: bool) -> None:
        before, times = self._sent.get(payload, (datagram, 0))
        if not again:
            before, times = datagram, 0
        if datagram != before:
            self._fail(RETRANSMISSION, "other bytes")
        elif times == MOST_SENDS:
            self._fail(RETRANSMISSION, f"sent {times + 1} times")
        self._sent[payload] = datagram, times + 1

    def _heeded(self, event: BoardHeeded) -> None:
        if not _belongs(event):
            self._fail(HEEDED, f"{event.board}: {event.before} -> {event.state}")

    def _changed(self, event: BoardChanged) -> None:
        record = event.record
        if record is self._whole.get(event.device):
            return
        known = self._messages.devices[event.device]
        seed = b"state 2" + known.key + known.handle
        if record is not None and sha256(seed + record[:-16]).digest()[:16] != record[-16:]:
            self._fail(WHOLE_RECORD, event.board)
        self._whole[event.device] = record

    def _asked(self, event: AcceptanceAsked) -> None:
        if len(event.client_id) != 7 or event.version not in event.versions:
            self._fail(ACCEPTABLE, f"version {event.version}")


def _belongs(event: BoardHeeded) -> bool:
    """Say whether a datagram may be the answer to the open request (RFC 7252 sections 4.2 and 5.3.2)."""
    datagram, request = event.datagram, event.request
    if event.sender != event.peer or len(datagram) < 4 or datagram[0] >> 6 != 1 or not request:
        return False
    same_message = datagram[2:4] == request[2:4]
    size = request[0] & 15
    same_token = datagram[0] & 15 == size and datagram[4 : 4 + size] == request[4 : 4 + size]
    kind = datagram[0] >> 4 & 3
    if kind == 3 or (kind == 2 and datagram[1] == 0):
        return same_message
    return same_token and (same_message or kind != 2)
